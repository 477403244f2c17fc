import pytest
import torch

from metaclip_core.evaluation.multiple_choice import choices, option_texts

ALL = torch.tensor([True, True])


def test_an_option_stands_behind_its_question():
    assert option_texts("What is it? ", ["a cat", " a dog"]) == ["What is it? a cat", "What is it? a dog"]


def test_the_nearest_option_wins_and_questions_may_have_different_numbers_of_them():
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    options = [torch.tensor([[0.0, 1.0], [0.9, 0.1]]), torch.tensor([[0.0, 0.5], [1.0, 0.0], [0.0, 0.9]])]
    assert choices(images, options, [1, 0], decoded=ALL).right.tolist() == [1, 0]
    assert choices(images, options, [0, 2], decoded=ALL).right.tolist() == [0, 1]


def test_a_question_whose_image_did_not_decode_is_wrong_also_where_the_first_option_is_right():
    options = [torch.eye(2), torch.eye(2)]
    tally = choices(torch.zeros(2, 2), options, [0, 0], decoded=torch.tensor([True, False]))
    assert tally.right.tolist() == [1, 0]
    assert tally.share == 0.5


@pytest.mark.parametrize("answer", [-1, 2])
def test_an_answer_that_is_no_option_is_refused(answer):
    with pytest.raises(ValueError, match=f"question 1 has 2 options, and its answer is {answer}"):
        choices(torch.eye(2), [torch.eye(2), torch.eye(2)], [0, answer], decoded=ALL)
