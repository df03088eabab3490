//! What to do, as a user wrote it: flags, or a TOML file.

use std::path::{Path, PathBuf};

use advmod_attacks::catalog::ATTACKS;
use advmod_attacks::config::parse_spec_string;
use serde::{Deserialize, Serialize};

use super::gate::{GatePlan, WaiverPlan};
use super::journal;
use crate::atomic_file::folder_of;
use crate::data::IMAGENET;
use crate::input;
use crate::modularity::Similarity;
use crate::store::PLAN_FILE;
use crate::text::names::sentence;

/// What is written here stands over what is written there.
trait Over {
    fn over(self, other: Self) -> Self;
}

impl<T> Over for Option<T> {
    fn over(self, other: Self) -> Self {
        self.or(other)
    }
}

/// Attacks are not merged: any given here replace all of the other's.
impl Over for Vec<AttackPlan> {
    fn over(self, other: Self) -> Self {
        if self.is_empty() { other } else { self }
    }
}

/// Gates and waivers add up.
macro_rules! adds_up {
    ($($kind:ty),*) => {
        $(impl Over for Vec<$kind> {
            fn over(self, mut other: Self) -> Self {
                other.extend(self);
                other
            }
        })*
    };
}

adds_up!(GatePlan, WaiverPlan);

/// Settings of a plan file, merged one by one. `advmod audit` has a flag of the same name for each.
macro_rules! settings {
    ($($(#[$about:meta])* pub struct $name:ident { $($(#[$what:meta])* pub $field:ident: $kind:ty,)* })*) => {
        $($(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name { $($(#[$what])* pub $field: $kind,)* }

        impl $name {
            /// In the order in which a command has them.
            const KEYS: &[&str] = &[$(stringify!($field)),*];
        }

        impl Over for $name {
            fn over(self, other: Self) -> Self {
                Self { $($field: self.$field.over(other.$field),)* }
            }
        })*
    };
}

settings! {
    /// A plan file. Everything is optional; unknown keys are errors.
    ///
    /// ```toml
    /// seed = 1
    /// [model]
    /// file = "resnet20.th"
    /// normalize = "imagenet"
    /// [data]
    /// path = "cifar-10-batches-py"
    /// first = 500
    /// [[attack]]
    /// name = "pgd"
    /// eps = ["4/255", "8/255"]
    /// ```
    pub struct AuditPlan {
        pub model: ModelPlan,
        pub data: DataPlan,
        pub attack: Vec<AttackPlan>,
        /// Where parameters that are not given come from.
        pub preset: Option<String>,
        pub baseline: Option<PathBuf>,
        pub curve: CurvePlan,
        pub seed: Option<u64>,
        /// `auto`, `cpu`, `cuda:N`.
        pub device: Option<String>,
        pub batch: Option<usize>,
        // The order of summation in matrix products depends on the number of threads: same threads, same bits.
        pub threads: Option<usize>,
        pub gate: Vec<GatePlan>,
        /// Whether gates that claim robustness may pass on a report that is `limited`.
        pub accept_limited: Option<bool>,
        /// Judge adversarial pixels after rounding them to 8 bits.
        pub eight_bit: Option<bool>,
        /// When attacks stop: sets the parameter `stop` of each attack that has it and is not given it.
        pub stop: Option<String>,
        pub out: Option<PathBuf>,
        /// Which gates may fail until when.
        pub waiver: Vec<WaiverPlan>,
        /// Folder in which relative paths begin; absent where that is the current one.
        #[serde(skip)]
        pub base: Option<PathBuf>,
    }

    /// `[model]` of a plan file.
    pub struct ModelPlan {
        /// Without it, the embedded model.
        pub file: Option<PathBuf>,
        pub arch: Option<String>,
        /// Preset or `MEAN/STD`.
        pub normalize: Option<String>,
        /// Image height and width.
        pub input_size: Option<u32>,
    }

    /// `[data]` of a plan file.
    pub struct DataPlan {
        /// File or folder; without it the embedded images.
        pub path: Option<PathBuf>,
        /// `train` or `test`.
        pub split: Option<String>,
        /// Number of images in file order.
        pub first: Option<usize>,
        /// Number of images to draw with the seed.
        pub samples: Option<usize>,
        pub resize: Option<u32>,
        pub crop: Option<u32>,
        /// Names of the model's classes, which folders of images are matched with: a file, or `imagenet`.
        pub classes: Option<String>,
    }

    /// `[curve]` of a plan file.
    pub struct CurvePlan {
        /// Neighbours per sample.
        pub k: Option<usize>,
        pub similarity: Option<Similarity>,
        /// `default`, `relu`, `all` or patterns.
        pub taps: Option<String>,
    }
}

/// One `[[attack]]` of a plan file.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct AttackPlan {
    /// As `advmod attacks` lists it.
    pub name: String,
    #[serde(flatten)]
    pub params: toml::Table,
}

/// A setting of a plan file that `advmod audit` has a flag for.
pub(crate) struct Setting {
    /// The table that it is in, if it is in one.
    pub section: Option<&'static str>,
    pub key: &'static str,
    /// The flag's name, with `_` between its words.
    pub flag: &'static str,
}

impl AuditPlan {
    /// All of them, in the order in which a command has them.
    pub(crate) fn flags() -> impl Iterator<Item = Setting> {
        let of = |section: Option<&'static str>, keys: &'static [&'static str]| {
            keys.iter().map(move |&key| (section, key)).collect::<Vec<_>>()
        };
        let all = Self::KEYS.iter().flat_map(move |&key| match key {
            "model" => of(Some(key), ModelPlan::KEYS),
            "data" => of(Some(key), DataPlan::KEYS),
            "curve" => of(Some(key), CurvePlan::KEYS),
            // A plan file alone can say these.
            "waiver" | "base" => Vec::new(),
            _ => vec![(None, key)],
        });
        all.map(|(section, key)| {
            let flag = match (section, key) {
                (Some(section @ "model"), "file") | (Some(section @ "data"), "path") => section,
                _ => key,
            };
            Setting { section, key, flag }
        })
    }

    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let unreadable = |error: std::io::Error| format!("cannot read the plan {}: {error}", path.display());
        let syntax = |message: &str| format!("plan {}: {message}", path.display());
        let text = input::read_to_string(path).map_err(unreadable)?;
        let mut plan: Self = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            syntax(&format!("line {line}: {}", error.message().lines().next().unwrap_or_default()))
        })?;
        for gate in &mut plan.gate {
            gate.locate(path, &text);
            gate.id = gate.id.as_deref().map(sentence);
            gate.reason = gate.reason.as_deref().map(sentence);
        }
        for waiver in &mut plan.waiver {
            (waiver.gate, waiver.reason) = (sentence(&waiver.gate), sentence(&waiver.reason));
            waiver.owner = waiver.owner.as_deref().map(sentence);
        }
        // One that a run has left, which tells where it began.
        if path.file_name().is_some_and(|name| name == PLAN_FILE) {
            let start = journal::started(folder_of(path));
            plan.base = start.and_then(|start| start.base).map(PathBuf::from);
        }
        Ok(plan)
    }

    fn paths(&self) -> [Option<&PathBuf>; 3] {
        [&self.model.file, &self.data.path, &self.baseline].map(Option::as_ref)
    }

    /// Whether it names a file by a path that begins in [`base`](Self::base), or in the current folder.
    pub(super) fn has_relative_paths(&self) -> bool {
        self.paths().into_iter().flatten().any(|path| path.is_relative())
    }

    /// Where one of its files is.
    pub(crate) fn located(&self, path: Option<&PathBuf>) -> Option<PathBuf> {
        path.map(|path| locate(self.base.as_deref(), path))
    }

    /// The same plan for the current folder.
    #[must_use]
    pub(crate) fn anchored(mut self) -> Self {
        let base = self.base.take();
        for path in [&mut self.model.file, &mut self.data.path, &mut self.baseline].into_iter().flatten() {
            *path = locate(base.as_deref(), path);
        }
        if let Some(classes) = self.data.classes.as_mut().filter(|it| *it != IMAGENET) {
            *classes = locate(base.as_deref(), Path::new(classes.as_str())).display().to_string();
        }
        self
    }

    /// This plan's settings where it has them, else the other's.
    #[must_use]
    pub(crate) fn over(self, mut other: Self) -> Self {
        // Paths of two places in one plan.
        if self.paths().into_iter().flatten().next().is_some() {
            other = other.anchored();
        }
        // They exclude each other.
        if self.data.first.is_some() {
            other.data.samples = None;
        }
        if self.data.samples.is_some() {
            other.data.first = None;
        }
        Over::over(self, other)
    }
}

/// Where a file is: in the first of these folders that has it, else where its path leads from the current one.
pub(super) fn locate<'a>(places: impl IntoIterator<Item = &'a Path>, path: &Path) -> PathBuf {
    let mut candidates = places.into_iter().map(|place| place.join(path));
    candidates.find(|candidate| candidate.exists()).unwrap_or_else(|| path.to_owned())
}

impl AttackPlan {
    /// Reads `NAME` or `NAME:key=value,…`, as on the command line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, params) = parse_spec_string(text).map_err(|error| error.to_string())?;
        Ok(Self { name, params })
    }

    /// The attack of this name with its defaults, or every attack for `all`.
    pub fn named(name: &str) -> Vec<Self> {
        let plain = |name: &str| Self { name: name.to_owned(), params: toml::Table::new() };
        match name {
            "all" => ATTACKS.iter().map(|spec| plain(spec.id)).collect(),
            name => vec![plain(name)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_every_attack_of_the_catalog() {
        let names: Vec<String> = AttackPlan::named("all").into_iter().map(|attack| attack.name).collect();
        assert_eq!(names, ATTACKS.iter().map(|spec| spec.id).collect::<Vec<_>>());
        assert_eq!(AttackPlan::named("pgd").len(), 1);
    }

    #[test]
    fn a_plan_file_with_an_unknown_key_is_an_error_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.toml");
        std::fs::write(&path, "seed = 1\nsede = 2\n").unwrap();
        let message = AuditPlan::read(&path).unwrap_err();
        assert!(message.contains("line 2") && message.contains("sede"), "{message}");
    }

    #[test]
    fn gates_add_up_and_a_count_of_images_replaces_the_other_one() {
        let plan = |text: &str| toml::from_str::<AuditPlan>(text).unwrap();
        let file = plan("[data]\nfirst = 9\nresize = 8\n[[gate]]\nexpr = \"asr.* <= 1\"\n");
        let both = plan("[data]\nsamples = 5\n[[gate]]\nexpr = \"asr.pgd <= 1\"\n").over(file.clone());
        assert_eq!((both.data.samples, both.data.first, both.data.resize), (Some(5), None, Some(8)));
        assert_eq!(
            both.gate.iter().map(|it| it.expr.get_ref().as_str()).collect::<Vec<_>>(),
            ["asr.* <= 1", "asr.pgd <= 1"]
        );
        let both = file.clone().over(plan("[data]\nsamples = 5\n"));
        assert_eq!((both.data.samples, both.data.first), (None, Some(9)));
    }
}
