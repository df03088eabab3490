//! Tests that need what the repository does not hold. Where it is missing they are reported as ignored, beside what they need.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "tests")]

#[allow(dead_code, reason = "shared with the other tests")]
#[path = "../it/support.rs"]
mod support;

mod doors;
mod images;
mod reference;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// A test and its name.
pub type Test = (&'static str, fn());

/// A list of tests, each under the name of its function.
macro_rules! tests {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name)),*] };
}
use tests;

/// A file of the folder of reference data: `ADVMOD_SHARED`, or `shared` beside the repository.
pub fn shared(name: &str) -> PathBuf {
    let folder = std::env::var_os("ADVMOD_SHARED");
    folder.map_or_else(|| support::root().join("../shared"), PathBuf::from).join(name)
}

fn main() -> ExitCode {
    let missing_file = reference::FILES.iter().map(|name| shared(name)).find(|path| !path.exists());
    let groups = [
        (missing_file.map(|path| format!("needs {}", path.display())), "reference", reference::TESTS),
        (
            (!doors::has_python()).then(|| "needs Python with torch and torchvision (ADVMOD_PYTHON)".to_owned()),
            "doors",
            doors::TESTS,
        ),
        ((!Path::new(images::LABELS).exists()).then(|| format!("needs {}", images::LABELS)), "images", images::TESTS),
    ];
    let mut trials = Vec::new();
    for (missing, group, tests) in groups {
        for &(name, test) in tests {
            let trial = Trial::test(format!("{group}::{name}"), move || {
                test();
                Ok(())
            });
            trials.push(match &missing {
                Some(what) => trial.with_kind(what).with_ignored_flag(true),
                None => trial,
            });
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
