//! Images from disk to pixels on the device: the only place where data changes its device.

use tch::{Device, Kind, TchError, Tensor};

use crate::data::Images;

#[expect(clippy::disallowed_methods, reason = "this module is the upload")]
/// Pixels f32 `[N, C, H, W]` in `[0, 1]` (each the byte divided by 255) and labels i64 `[N]` on the device.
pub fn upload(images: &Images, device: Device) -> Result<(Tensor, Tensor), TchError> {
    let shape = images.shape.map(|size| size as i64);
    let bytes = Tensor::f_from_slice(&images.pixels)?.f_view(shape)?;
    let pixels = bytes.f_to_device(device)?.f_to_kind(Kind::Float)?.f_div_scalar(255.0)?;
    let labels: Vec<i64> = images.labels.iter().map(|&label| i64::from(label)).collect();
    Ok((pixels, Tensor::f_from_slice(&labels)?.f_to_device(device)?))
}

/// A tensor on the device; the same one where it is there already.
#[expect(clippy::disallowed_methods, reason = "this module is the upload")]
pub(crate) fn to_device(tensor: &Tensor, device: Device) -> Result<Tensor, TchError> {
    tensor.f_to_device(device)
}
