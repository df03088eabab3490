"""What the tests share. They run the program that was built in this tree, unless ADVMOD_BINARY names another."""

import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

if "ADVMOD_BINARY" not in os.environ:
    built = [path for kind in ("release", "debug") if (path := ROOT / "target" / kind / "advmod").exists()]
    if built:
        os.environ["ADVMOD_BINARY"] = str(max(built, key=lambda path: path.stat().st_mtime))

torch = pytest.importorskip("torch")


class Small(torch.nn.Module):
    """A network of a few hundred weights on colour images."""

    def __init__(self, channels=3, classes=4):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(channels, 8, 3, stride=2)
        self.norm = torch.nn.BatchNorm2d(8)
        self.dropout = torch.nn.Dropout(0.5)
        self.conv2 = torch.nn.Conv2d(8, 8, 3)
        self.fc = torch.nn.Linear(8, classes)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv1(x)))
        x = self.dropout(torch.relu(self.conv2(x)))
        return self.fc(x.mean(dim=(2, 3)))


@pytest.fixture(scope="session")
def model():
    """A network that is right on most of `images`: trained for a moment."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = Small()
    x, y = make_images(64)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(120):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x.float() / 255), y).backward()
        optimizer.step()
    return model


def make_images(n, channels=3, classes=4):
    """Images uint8 [n, channels, 16, 16] whose class is where the bright patch is."""
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(n) % classes
    x = torch.randint(0, 100, (n, channels, 16, 16), generator=generator, dtype=torch.uint8)
    for image, label in zip(x, y.tolist(), strict=True):
        image[label % channels, :, :] += 40 + 30 * (label // channels)
    return x, y


@pytest.fixture(scope="session")
def images():
    return make_images(64)
