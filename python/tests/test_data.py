"""What data may be, and what is said of data that cannot be used."""

import advmod
import pytest
import torch
from advmod._data import gather, to_labels
from advmod._functions import PRESETS, amount, mean_std
from conftest import ROOT, make_images


class Items(torch.utils.data.Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, at):
        return self.items[at]


def test_arrays_sets_and_loaders_give_the_same_pixels():
    x, y = make_images(12)
    expected = gather((x, y))
    floats = x.float() / 255
    as_set = Items([(image, int(label)) for image, label in zip(floats, y, strict=True)])
    loader = torch.utils.data.DataLoader(as_set, batch_size=5)
    channels_last = x.permute(0, 2, 3, 1)
    for data in [(floats, y), as_set, loader, (channels_last, y), (x.to(torch.int64), y), (x.float(), y)]:
        found = gather(data)
        assert torch.equal(found.pixels, expected.pixels) and torch.equal(found.labels, expected.labels)


def test_pil_images_are_read():
    pil = pytest.importorskip("PIL.Image")
    x, y = make_images(4)
    pictures = [pil.frombytes("RGB", (16, 16), bytes(image.permute(1, 2, 0).flatten().tolist())) for image in x]
    found = gather(Items(list(zip(pictures, y.tolist(), strict=True))))
    assert torch.equal(found.pixels, x)
    grey = gather(Items([(picture.convert("L"), 0) for picture in pictures]))
    assert grey.pixels.shape == (4, 1, 16, 16)


def test_a_normalization_is_taken_back():
    x, y = make_images(6)
    mean, std = ((torch.tensor(v).view(1, -1, 1, 1)) for v in PRESETS["imagenet"])
    normalized = (x.float() / 255 - mean) / std
    found = gather((normalized, y), mean_std=mean_std("imagenet"))
    assert torch.equal(found.pixels, x) and found.notes
    with pytest.raises(advmod.DataError, match="normalize="):
        gather((normalized, y))
    with pytest.raises(advmod.DataError, match="taken back"):
        gather((normalized, y), mean_std=mean_std("cifar10"))


def test_samples_are_drawn_by_the_seed():
    x, y = make_images(30)
    one, two, other = (gather((x, y), 10, seed) for seed in (0, 0, 1))
    assert one.indices == two.indices != other.indices and len(one.indices) == 10
    assert torch.equal(one.pixels, x[torch.tensor(one.indices)])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Items([]), "no images"),
        (7, "type int"),
        ((torch.zeros(3, 3, 8, 8), torch.zeros(2)), "3 images and 2 labels"),
        ((torch.rand(3, 3, 8, 8), torch.zeros(3)), "n/255"),
        ((torch.full((2, 3, 8, 8), float("nan")), torch.zeros(2)), "not finite"),
        ((torch.zeros(2, 5, 8, 8), torch.zeros(2)), "5 channels"),
        (Items([(torch.zeros(3, 8, 8), 0), (torch.zeros(3, 9, 8), 1)]), "image 1 has the shape 3 × 9 × 8"),
        (Items([(torch.zeros(3, 8, 8), "cat")]), "'cat'"),
        (Items([torch.zeros(3, 8, 8)]), "item 0"),
    ],
)
def test_what_cannot_be_used_is_said(data, message):
    with pytest.raises(advmod.DataError, match=message):
        gather(data)


def test_labels_may_be_names_and_one_hot():
    assert to_labels(["dog", "cat"], ["cat", "dog"]).tolist() == [1, 0]
    assert to_labels(torch.eye(3), None).tolist() == [0, 1, 2]
    with pytest.raises(advmod.DataError, match="'cow'"):
        to_labels(["cow"], ["cat"])


def test_normalizations_are_those_of_the_program():
    source = (ROOT / "src/model/normalize.rs").read_text()
    for name, (mean, std) in PRESETS.items():
        line = next(line for line in source.splitlines() if f'("{name}",' in line)
        numbers = [float(number) for number in line.split("&", 1)[1].replace("[", " ").replace("]", " ").replace("&", " ").replace("),", " ").split(",") if number.strip()]
        assert numbers == [*mean, *std], name
    assert mean_std(((0.5,), (0.25,))) == ((0.5,), (0.25,)) and mean_std("none") is None


def test_amounts_are_written_as_reports_write_them():
    assert amount(8 / 255) == "8/255" and amount(0.1) == "0.1" and amount(0.5) == "0.5"
