//! The embedded images against the data set that they are from, as Debian packages it.

use std::path::Path;

use crate::support::root;
use crate::{Test, tests};

pub const TESTS: &[Test] = tests![the_embedded_images_are_what_their_script_makes];

pub const LABELS: &str = "/usr/share/datasets/fashion-mnist/t10k-labels-idx1-ubyte.gz";

fn the_embedded_images_are_what_their_script_makes() {
    let data = advmod::data::open(Path::new(LABELS).parent(), &advmod::data::OpenOptions::default()).unwrap();
    let embedded = advmod::data::open(None, &advmod::data::OpenOptions::default()).unwrap();
    let places: Vec<usize> = (0..1000).collect();
    assert_eq!(data.read(&places).unwrap(), embedded.read(&places).unwrap());
    assert!(root().join("fixtures/make_images.py").exists());
}
