from PIL import Image

from benchmarks.images import write_images


def test_fixed_is_one_jpeg_of_the_usual_size(tmp_path):
    (path,) = write_images("fixed", tmp_path)
    with Image.open(path) as image:
        assert (image.format, image.size) == ("JPEG", (640, 427))
    assert abs(path.stat().st_size - 100_000) < 10_000


def test_mixed_has_jpegs_of_many_sizes(small):
    paths = sorted(small.images.iterdir())
    sizes = [path.stat().st_size for path in paths]
    with_pixels = set()
    for path in paths:
        with Image.open(path) as image:
            assert image.format == "JPEG"
            with_pixels.add(image.size)
    assert len(paths) == 8
    assert max(sizes) > 10 * min(sizes)
    assert len(with_pixels) >= 5
