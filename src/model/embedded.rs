//! The model inside the binary: a CIFAR-style ResNet-20 trained on Fashion-MNIST by `advmod train` (command in `fixtures/`).

/// What the model is called in reports.
pub const NAME: &str = "embedded";

pub const BYTES: &[u8] = include_bytes!("../../fixtures/resnet20-fashion-mnist.safetensors");
