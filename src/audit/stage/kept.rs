//! The adversarial pixels of an attack on disk: batch by batch while it runs, whole when it is through.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use tch::{Kind, TchError, Tensor};

use super::attack::{Attacked, Judged};
use crate::audit::event::SampleResult;
use crate::store::{part_file, whole_file};

/// Appends an attack's batches to a file, so that a killed run loses no batch.
#[derive(Debug)]
pub struct Part(File);

impl Part {
    /// Opens the file of an attack whose images have so many values; a record that a killed run left half written is cut off.
    pub fn open(path: &Path, values: usize) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        let record = record_length(values);
        let length = file.metadata()?.len();
        if length % record != 0 {
            file.set_len(length - length % record)?;
        }
        Ok(Self(file))
    }

    /// Hands a batch to the system.
    pub fn append(&mut self, batch: &Judged<'_>) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut samples = batch.results.iter().map(|result| result.sample as u64);
        for pixels in batch.pixels {
            let rows = Vec::<Vec<f32>>::try_from(pixels.flatten(1, -1)).map_err(io::Error::other)?;
            for (row, sample) in rows.iter().zip(samples.by_ref()) {
                bytes.extend(sample.to_le_bytes());
                bytes.extend(row.iter().flat_map(|value| value.to_le_bytes()));
            }
        }
        self.0.write_all(&bytes)
    }
}

fn record_length(values: usize) -> u64 {
    (size_of::<u64>() + values * size_of::<f32>()) as u64
}

/// Pixels that an earlier part of the run left on disk, by sample.
#[derive(Debug, Default)]
pub struct Kept(BTreeMap<usize, Tensor>);

impl Kept {
    /// What there is of an attack, whatever of it can be read; `shape` is `[C, H, W]`.
    pub fn read(folder: &Path, label: &str, shape: [usize; 3]) -> Self {
        let mut kept = BTreeMap::new();
        // A file that is not there, or not whole, holds nothing: its samples are attacked again.
        let _ = read_part(&part_file(folder, label), shape, &mut kept);
        let _ = read_whole(&whole_file(folder, label), shape, &mut kept);
        Self(kept)
    }

    /// Of which samples there are pixels.
    pub fn samples(&self) -> BTreeSet<usize> {
        self.0.keys().copied().collect()
    }

    /// These results with their pixels; results without pixels are left out.
    pub fn attacked(&self, results: &[SampleResult], shape: [usize; 3]) -> Result<Attacked, TchError> {
        let results: Vec<SampleResult> = results.iter().filter(|it| self.0.contains_key(&it.sample)).cloned().collect();
        let rows: Vec<&Tensor> = results.iter().map(|it| &self.0[&it.sample]).collect();
        let pixels = match rows.is_empty() {
            true => no_pixels(shape)?,
            false => Tensor::f_stack(&rows, 0)?,
        };
        Ok(Attacked::of(results, pixels, 0.0))
    }
}

/// An empty `[0, C, H, W]`.
pub fn no_pixels(shape: [usize; 3]) -> Result<Tensor, TchError> {
    let [channels, height, width] = shape.map(|size| size as i64);
    Tensor::f_zeros([0, channels, height, width], (Kind::Float, tch::Device::Cpu))
}

fn read_part(path: &Path, shape: [usize; 3], kept: &mut BTreeMap<usize, Tensor>) -> io::Result<()> {
    let mut record = vec![0; record_length(shape.iter().product()) as usize];
    let mut file = io::BufReader::new(File::open(path)?);
    loop {
        match file.read_exact(&mut record) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        let (sample, pixels) = record.split_at(size_of::<u64>());
        let sample = u64::from_le_bytes(sample.try_into().map_err(io::Error::other)?);
        let pixels: Vec<f32> =
            pixels.chunks_exact(4).map(|it| f32::from_le_bytes([it[0], it[1], it[2], it[3]])).collect();
        let pixels = Tensor::f_from_slice(&pixels).and_then(|it| it.f_view(shape.map(|size| size as i64)));
        kept.insert(sample as usize, pixels.map_err(io::Error::other)?);
    }
}

fn read_whole(path: &Path, shape: [usize; 3], kept: &mut BTreeMap<usize, Tensor>) -> Result<(), TchError> {
    let tensors = Tensor::read_safetensors(path)?;
    let find = |name: &str| tensors.iter().find(|(it, _)| it == name).map(|(_, tensor)| tensor);
    let (Some(samples), Some(pixels)) = (find("samples"), find("pixels")) else { return Ok(()) };
    let samples = Vec::<i64>::try_from(samples)?;
    let [channels, height, width] = shape.map(|size| size as i64);
    if pixels.kind() == Kind::Float && pixels.size() == [samples.len() as i64, channels, height, width] {
        for (row, sample) in (0_i64..).zip(samples) {
            kept.insert(sample as usize, pixels.f_select(0, row)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ADVERSARIAL_FOLDER;

    fn result(sample: usize) -> SampleResult {
        SampleResult { sample, success: true, ..SampleResult::default() }
    }

    #[test]
    fn whole_records_come_back_and_half_ones_are_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(ADVERSARIAL_FOLDER)).unwrap();
        let path = part_file(folder.path(), "pgd");
        let pixels = Tensor::rand([3, 1, 2, 2], (Kind::Float, tch::Device::Cpu));
        let results = [result(4), result(9), result(2)];
        let batch = Judged { results: &results, pixels: &[pixels.narrow(0, 0, 1), pixels.narrow(0, 1, 2)] };
        Part::open(&path, 4).unwrap().append(&batch).unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        let kept = Kept::read(folder.path(), "pgd", [1, 2, 2]);
        assert_eq!(kept.samples(), BTreeSet::from([4, 9]));
        Part::open(&path, 4).unwrap().append(&batch).unwrap();
        let kept = Kept::read(folder.path(), "pgd", [1, 2, 2]);
        let attacked = kept.attacked(&[result(2), result(3), result(9)], [1, 2, 2]).unwrap();
        assert_eq!(attacked.samples, [2, 9]);
        assert_eq!(attacked.pixels, pixels.index_select(0, &Tensor::from_slice(&[2_i64, 1])));
    }

    #[test]
    fn what_cannot_be_read_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(ADVERSARIAL_FOLDER)).unwrap();
        std::fs::write(whole_file(folder.path(), "pgd"), b"\xff\xff\xff\xff\xff\xff\xff\x7fno header").unwrap();
        assert!(Kept::read(folder.path(), "pgd", [1, 2, 2]).samples().is_empty());
        assert_eq!(Kept::default().attacked(&[result(1)], [1, 2, 2]).unwrap().pixels.size(), [0, 1, 2, 2]);
    }
}
