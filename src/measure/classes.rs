//! A data set as a model takes it: folders numbered as its outputs are, grey images in colour.

use crate::data::{ClassList, DataError, Dataset, DatasetInfo, Images};
use crate::model::Model;
use crate::text::names::some;

/// Most names in a message.
const SHOWN: usize = 8;

/// Data whose labels are outputs of a model.
#[derive(Debug)]
pub(crate) struct Matched<'a> {
    data: &'a dyn Dataset,
    info: DatasetInfo,
    labels: Vec<u32>,
    notes: Vec<String>,
}

impl<'a> Matched<'a> {
    /// # Errors
    /// Folders that are no classes of the model; more folders than it has classes.
    pub(crate) fn new(data: &'a dyn Dataset, model: &Model) -> Result<Self, String> {
        let of_model = model.info();
        let mut matched = Self::unmatched(data);
        if let Some(given) = data.folders() {
            let numbering = numbering(&matched.info.classes, given, (of_model.classes as usize, &of_model.class_names));
            matched.number(numbering, (of_model.classes as usize, &of_model.class_names))?;
        }
        let Self { info, notes, .. } = &mut matched;
        if info.channels == 1 && of_model.channels == 3 {
            info.channels = 3;
            notes.push(
                "the images are grey and the model takes colour: it gets their one channel three times".to_owned(),
            );
        }
        Ok(matched)
    }

    /// Data whose folders are some of the classes of other data, by their names.
    ///
    /// # Errors
    /// Folders that are no classes of the other data.
    pub(crate) fn to_classes_of(data: &'a dyn Dataset, other: &DatasetInfo) -> Result<Self, String> {
        let mut matched = Self::unmatched(data);
        if data.folders().is_some() {
            let (list, outputs) = (ClassList::in_order(&other.name, &other.classes), other.classes.len());
            let numbering = by_list(&matched.info.classes, &list, outputs);
            matched.number(numbering, (outputs, &other.classes))?;
        }
        Ok(matched)
    }

    fn unmatched(data: &'a dyn Dataset) -> Self {
        Self { data, info: data.info().clone(), labels: data.labels().to_vec(), notes: data.notes().to_vec() }
    }

    fn number(
        &mut self,
        numbering: Result<Numbering, String>,
        (outputs, names): (usize, &[String]),
    ) -> Result<(), String> {
        let Self { info, labels, notes, .. } = self;
        let Numbering { classes, note } = numbering.map_err(|it| format!("{}: {it}", info.name))?;
        for label in labels {
            *label = classes[*label as usize];
        }
        // By output, where the model does not name them itself.
        let mut named = names.to_vec();
        if named.is_empty() {
            let all = classes.iter().max().map_or(0, |&most| most as usize + 1).max(outputs);
            named = (0..all).map(|class| class.to_string()).collect();
            for (name, &class) in info.classes.iter().zip(&classes) {
                named[class as usize].clone_from(name);
            }
        }
        info.classes = named;
        notes.extend(note);
        Ok(())
    }
}

impl Dataset for Matched<'_> {
    fn info(&self) -> &DatasetInfo {
        &self.info
    }

    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn sha256(&self, places: &[usize]) -> Result<String, DataError> {
        self.data.sha256(places)
    }

    fn read(&self, places: &[usize]) -> Result<Images, DataError> {
        let mut images = self.data.read(places)?;
        images.labels = places.iter().map(|&place| self.labels[place]).collect();
        let [n, channels, height, width] = images.shape;
        if channels < self.info.channels {
            let planes = images.pixels.chunks_exact((height * width).max(1));
            images.pixels = planes.flat_map(|plane| plane.repeat(self.info.channels)).collect();
            images.shape = [n, self.info.channels, height, width];
        }
        Ok(images)
    }
}

/// Which output each folder is.
struct Numbering {
    classes: Vec<u32>,
    note: Option<String>,
}

/// By a list that the user gave; else by the names that the model has, or by `ImageNet`'s; else numbers by themselves, and other names in their
/// order, as PyTorch's `ImageFolder` numbers them.
fn numbering(
    folders: &[String],
    given: Option<&ClassList>,
    (outputs, named): (usize, &[String]),
) -> Result<Numbering, String> {
    if let Some(list) = given {
        return by_list(folders, list, outputs);
    }
    let n = folders.len();
    let own = ClassList::in_order("the model", named);
    let known = folders.iter().filter(|name| own.place(name).is_some()).count();
    if known > 0 {
        return by_list(folders, &own, outputs);
    }
    let imagenet = ClassList::imagenet();
    if outputs == 1000 && folders.iter().all(|name| imagenet.place(name).is_some()) {
        return by_list(folders, &imagenet, outputs);
    }
    if n > outputs {
        return Err(format!(
            "{n} folders with images, but the model has {outputs} outputs; remove the folders that are none of its classes, or give --classes"
        ));
    }
    let numbers: Option<Vec<u32>> =
        folders.iter().map(|name| name.parse().ok().filter(|&it: &u32| (it as usize) < outputs)).collect();
    if let Some(classes) = numbers.filter(|_| n < outputs) {
        let note = format!(
            "{n} folders with images for {outputs} outputs: each folder is the class of its number ({})",
            some(folders, SHOWN)
        );
        return Ok(Numbering { classes, note: Some(note) });
    }
    let note = match (n < outputs, named.is_empty()) {
        (true, _) => Some(format!(
            "{n} folders with images for {outputs} outputs: they are taken for the first {n} classes in the order of their names ({}); if they are \
             others, give --classes",
            some(folders, SHOWN)
        )),
        (false, false) => Some(format!(
            "no folder is called as a class of the model ({}): they are numbered in the order of their names ({})",
            some(named, SHOWN),
            some(folders, SHOWN)
        )),
        (false, true) => None,
    };
    Ok(Numbering { classes: (0..n as u32).collect(), note })
}

fn by_list(folders: &[String], list: &ClassList, outputs: usize) -> Result<Numbering, String> {
    let unknown: Vec<String> = folders.iter().filter(|name| list.place(name).is_none()).cloned().collect();
    if !unknown.is_empty() {
        let names: Vec<String> = list.names().map(str::to_owned).collect();
        return Err(format!(
            "{} of {} folders are no classes of {}: {}; it has {} ({}); rename or remove them",
            unknown.len(),
            folders.len(),
            list.source,
            some(&unknown, SHOWN),
            names.len(),
            some(&names, SHOWN)
        ));
    }
    let classes: Vec<u32> = folders.iter().filter_map(|name| list.place(name)).collect();
    if let Some(&most) = classes.iter().max().filter(|&&most| most as usize >= outputs) {
        return Err(format!(
            "{} has output {most}, the model has {outputs} outputs; give the list of its classes",
            list.source
        ));
    }
    let mut seen: Vec<u32> = classes.clone();
    seen.sort_unstable();
    seen.dedup();
    if seen.len() < classes.len() {
        return Err(format!("{} has one output for several of the folders; expected one for each", list.source));
    }
    let n = folders.len();
    let missing: Vec<String> =
        list.names().filter(|name| !folders.iter().any(|it| it == name)).map(str::to_owned).collect();
    let note = (n < outputs).then(|| {
        let without = if missing.len() <= SHOWN && !missing.is_empty() {
            format!("; none of {}", missing.join(", "))
        } else {
            String::new()
        };
        format!("{n} folders with images for {outputs} outputs, matched by the names of {}{without}", list.source)
    });
    Ok(Numbering { classes, note })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(
        folders: &[&str],
        given: Option<&ClassList>,
        outputs: usize,
        named: &[&str],
    ) -> Result<(Vec<u32>, String), String> {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        numbering(&owned(folders), given, (outputs, &owned(named))).map(|it| (it.classes, it.note.unwrap_or_default()))
    }

    #[test]
    fn names_win_over_order() {
        let model = ["cat", "dog", "cow"];
        assert_eq!(numbered(&["cat", "cow", "dog"], None, 3, &model), Ok((vec![0, 2, 1], String::new())));
        let (classes, note) = numbered(&["cow", "dog"], None, 3, &model).unwrap();
        assert!(
            classes == [2, 1]
                && note.contains("2 folders")
                && note.contains("3 outputs")
                && note.contains("none of cat"),
            "{note}"
        );
        let error = numbered(&["cat", "dog", "horse"], None, 3, &model).unwrap_err();
        assert!(error.contains("1 of 3") && error.contains("horse"), "{error}");
        let (classes, note) = numbered(&["a", "b", "c"], None, 3, &model).unwrap();
        assert!(classes == [0, 1, 2] && note.contains("no folder is called"), "{note}");
    }

    #[test]
    fn a_given_list_wins_over_the_model() {
        let list = ClassList::in_order("classes.txt", &["cow", "cat", "dog"].map(str::to_owned));
        assert_eq!(numbered(&["cat", "dog"], Some(&list), 3, &["cat", "dog", "cow"]).unwrap().0, [1, 2]);
        assert!(numbered(&["horse"], Some(&list), 3, &[]).unwrap_err().contains("classes.txt"));
        assert!(numbered(&["dog"], Some(&list), 2, &[]).unwrap_err().contains("2 outputs"));
    }

    #[test]
    fn imagenets_folders_are_found_in_a_network_of_a_thousand() {
        let (classes, note) = numbered(&["n01440764", "n01484850", "n15075141"], None, 1000, &[]).unwrap();
        assert!(classes == [0, 2, 999] && note.contains("3 folders") && note.contains("imagenet"), "{note}");
        // A smaller network has other classes: what they are is not guessed.
        assert_eq!(numbered(&["n01440764", "n01484850", "n15075141"], None, 3, &[]).unwrap().0, [0, 1, 2]);
    }

    #[test]
    fn fewer_and_more_folders_than_outputs_are_said_with_both_numbers() {
        let (classes, note) = numbered(&["a", "b"], None, 3, &[]).unwrap();
        assert!(classes == [0, 1] && note.contains("2 folders") && note.contains("3 outputs"), "{note}");
        let (classes, note) = numbered(&["2", "5", "7"], None, 12, &[]).unwrap();
        assert!(classes == [2, 5, 7] && note.contains("of its number"), "{note}");
        // As many as there are outputs: in their order, from whichever number they begin.
        assert_eq!(numbered(&["1", "2", "3"], None, 3, &[]).unwrap(), (vec![0, 1, 2], String::new()));
        let error = numbered(&["a", "b", "c"], None, 2, &[]).unwrap_err();
        assert!(error.contains("3 folders") && error.contains("2 outputs"), "{error}");
    }
}
