//! The images inside the binary: 1,000 test images of Fashion-MNIST (MIT licence), made by `fixtures/make_images.py`.

use std::path::Path;

use super::idx::{gunzip, parse};
use super::memory::{InMemory, identified};
use super::{FASHION_MNIST, OpenOptions, Opened, Split, content, not_rescaled};

const IMAGES: &[u8] = include_bytes!("../../fixtures/fashion-mnist-1000-images.idx3.gz");
const LABELS: &[u8] = include_bytes!("../../fixtures/fashion-mnist-1000-labels.idx1.gz");

pub(super) fn open(options: &OpenOptions) -> Opened {
    let path = Path::new("embedded");
    if options.split == Split::Train {
        return Err(content(path, "only test images are embedded; give --data for training images"));
    }
    if options.resize.is_some() || options.crop.is_some() {
        return Err(not_rescaled(path));
    }
    let unpack = |bytes| gunzip(bytes).map_err(|error| content(path, format!("the binary is damaged: {error}")));
    let (images, labels) = (unpack(IMAGES)?, unpack(LABELS)?);
    let digest = identified(path, options, [images.as_slice(), &labels])?;
    let parsed = parse(path, &images, path, &labels)?;
    InMemory::open(path, "idx", Some(Split::Test), &FASHION_MNIST, parsed, digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_images_are_embedded() {
        let data = open(&OpenOptions::default()).unwrap();
        let info = data.info();
        assert_eq!((info.n, info.channels, info.height, info.width), (1000, 1, 28, 28));
        assert_eq!(data.labels()[..5], [9, 2, 1, 1, 6]);
    }
}
