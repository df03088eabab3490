//! `advmod export-help`: the Python that saves a model in each format.

use super::{CliError, Exit, print};

const TEXT: &str = r#"Python that saves a PyTorch model for advmod. `model` is your module, `images` a batch of at least two images as the model takes them,
of the size that it was trained at: images = torch.rand(2, 3, 224, 224).

torch.export (.pt2): any architecture, and everything that advmod can show. PyTorch 2.11.

    model = model.eval()
    batch = {0: torch.export.Dim("batch", min=1, max=4096)}
    torch.export.save(torch.export.export(model, (images,), dynamic_shapes=(batch,)), "model.pt2")

  If torch.export wants a fixed batch size, leave out dynamic_shapes: advmod then runs other batches in pieces of that size.

TorchScript (.pt): where torch.export fails. The file is read as data and translated, never run. Where its code cannot be followed,
--trust-torchscript lets libtorch run it: only for files that you trust.

    torch.jit.trace(model.eval(), images).save("traced.pt")
    torch.jit.script(model.eval()).save("scripted.pt")

state_dict (.pt) and safetensors: weights alone, for the architectures that are built in (advmod inspect --help).

    torch.save(model.state_dict(), "weights.pt")

    from safetensors.torch import save_file
    save_file(model.state_dict(), "weights.safetensors")

A file that torch.save(model, ...) wrote holds the whole pickled module, which only its own code can read: load it there, then export it.

    model = torch.load("whole.pt", weights_only=False)

Attacks live in pixels in [0, 1]. Either the model normalizes by itself, or you say how: --normalize imagenet.
"#;

pub(super) fn run() -> Result<Exit, CliError> {
    print(TEXT)?;
    Ok(Exit::Pass)
}
