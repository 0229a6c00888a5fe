"""Answers of every task as lines for people."""

from slipway.cli.records import lines


def test_classification_is_one_line() -> None:
    assert lines({"labels": ["7", "1"], "scores": [0.98, 0.02]}) == ["7 0.9800  1 0.0200"]


def test_a_line_for_every_box() -> None:
    boxes = {"boxes": [[1.4, 2, 30, 40], [0, 0, 9.6, 9]], "scores": [0.9, 0.8], "labels": ["cat", "dog"], "count": 2}
    assert lines(boxes) == ["cat  0.900  x 1 to 30, y 2 to 40", "dog  0.800  x 0 to 10, y 0 to 9"]
    assert lines({"boxes": [], "scores": [], "labels": [], "count": 0}) == ["nothing found"]


def test_attributes_of_faces_stand_at_their_face() -> None:
    record = {
        "boxes": [[1, 2, 3, 4], [5, 6, 7, 8]],
        "scores": [0.9, 0.8],
        "landmarks": [[[0, 0]] * 5] * 2,
        "age.labels": [["old"], ["young"]],
        "age.scores": [[0.7], [0.6]],
        "identity.embedding": [[0.6, 0.8], [1.0, 0.0]],
    }
    first, second = lines(record)
    assert "age: old 0.7000" in first and "identity: 2 numbers, length 1.0000" in first
    assert "age: young 0.6000" in second and second.startswith("0.800  x 5 to 7")


def test_attributes_of_the_image_have_lines_of_their_own() -> None:
    record = {"boxes": [], "scores": [], "labels": [], "scene.labels": ["street", "park"], "scene.scores": [0.9, 0.1]}
    assert lines(record) == ["nothing found", "scene: street 0.9000  park 0.1000"]


def test_texts_vectors_and_masks() -> None:
    assert lines({"quads": [[[0, 0]] * 4], "texts": ["hello"], "scores": [0.95]}) == ["0.950  hello"]
    assert lines({"quads": [], "texts": [], "scores": []}) == ["no text"]
    assert lines({"embedding": [3.0, 4.0]}) == ["2 numbers, length 5.0000"]
    mask = {"mask": "iVBO", "size": [4, 6], "classes": ["road", "sky"], "shares": [0.75, 0.25], "count": 2}
    assert lines(mask) == ["mask 4 x 6", "road  75.0%", "sky  25.0%"]


def test_a_task_of_the_users_own_is_shown_as_it_is() -> None:
    assert lines({"depth": 1.23456, "name": "x"}) == ["depth: 1.2346", "name: x"]
    assert lines({}) == ["nothing"]


def test_attributes_that_were_not_asked_for_are_not_shown() -> None:
    record = {
        "boxes": [[1, 2, 3, 4]],
        "scores": [0.5],
        "identity.embedding": [[]],
        "age.labels": [[]],
        "age.scores": [[]],
    }
    assert lines(record) == ["0.500  x 1 to 3, y 2 to 4"]
