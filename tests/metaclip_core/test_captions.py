import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer, PreTrainedTokenizerFast, T5Tokenizer, XLMRobertaTokenizer

from metaclip_core.captions import (
    CaptionEncoder,
    SpecialIds,
    load_encoder,
    save_tokenizer,
    special_ids,
    train_tokenizer,
)
from metaclip_core.tokenizer_folder import load_tokenizer

CAPTIONS = [
    "forty two cats on a mat",
    "the number 42, written by hand",
    "zweiundvierzig Katzen auf einer Matte",
    "сорок два кота на коврике",
    "四十二只猫在垫子上",
    "اثنان وأربعون قطة",
    "สี่สิบสอง",
]
BOS, PAD, EOS = 0, 1, 2
FRAME = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>"}


@pytest.fixture(scope="module")
def trained():
    return train_tokenizer(CAPTIONS * 3, vocab_size=400)


@pytest.fixture(scope="module", params=["trained", "reloaded"])
def tokenizer(request, trained, tmp_path_factory):
    if request.param == "trained":
        return trained
    directory = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(trained, directory)
    return load_tokenizer(directory)


@pytest.fixture(scope="module")
def unigram():
    """Like XLM-V: the special tokens are among the pieces that text is made of."""
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((c, -4.0) for c in "▁<>/sa")]
    backend = Tokenizer(models.Unigram(pieces, unk_id=3))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, **FRAME, unk_token="<unk>")  # noqa: S106


def body(tokenizer, caption, context_length=64):
    ids = CaptionEncoder(tokenizer, context_length=context_length).encode([caption])[0]
    assert ids[0] == BOS
    assert ids[-1] == EOS
    return ids[1:-1]


def test_special_ids_are_those_of_xlm_v(tokenizer):
    assert tokenizer.convert_tokens_to_ids(["<s>", "<pad>", "</s>", "<unk>"]) == [0, 1, 2, 3]
    assert special_ids(tokenizer).eos == EOS


def test_training_in_another_order_gives_the_same_tokenizer(trained):
    captions = sorted(CAPTIONS * 3, reverse=True)
    assert train_tokenizer(captions, vocab_size=400).backend_tokenizer.to_str() == trained.backend_tokenizer.to_str()


def test_a_reloaded_tokenizer_is_the_same(trained, tmp_path):
    save_tokenizer(trained, tmp_path)
    assert load_tokenizer(tmp_path).backend_tokenizer.to_str() == trained.backend_tokenizer.to_str()


def test_the_vocabulary_keeps_to_its_size():
    assert len(train_tokenizer(CAPTIONS, vocab_size=300)) <= 300


def test_a_vocabulary_without_room_for_pieces_is_refused():
    with pytest.raises(ValueError, match="260"):
        train_tokenizer(CAPTIONS, vocab_size=260)


@pytest.mark.parametrize("caption", [*CAPTIONS, "unseen: 🦄 ᚠᛇᚻ ꯍ"])
def test_no_character_is_unknown_and_text_comes_back(tokenizer, caption):
    ids = body(tokenizer, caption)
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids) == caption


def test_digits_stand_alone_and_blanks_are_folded(tokenizer):
    assert list(body(tokenizer, "a \n\t 42")) == list(body(tokenizer, " a 42 "))
    assert "42" not in tokenizer.get_vocab()


@pytest.mark.parametrize("literal", ["<s>", "</s>", "<pad>", "<unk>"])
@pytest.mark.parametrize("template", ["{}", "a {} b", "a{}b", "{0}{0}"])
def test_a_special_token_in_a_caption_is_plain_text(tokenizer, literal, template):
    caption = template.format(literal)
    ids = body(tokenizer, caption)
    assert not {BOS, PAD, EOS, tokenizer.unk_token_id} & set(ids.tolist())
    assert tokenizer.decode(ids) == caption


def test_a_special_token_in_a_caption_is_plain_text_without_our_encoder_too(tokenizer):
    assert tokenizer("a </s> b")["input_ids"].count(EOS) == 1


@pytest.mark.parametrize("caption", ["</s>", "a </s> a", "a</s>a", "</s><s>", "<pad> a"])
def test_pieces_that_spell_a_special_token_never_yield_its_id(unigram, caption):
    plain = unigram(caption, split_special_tokens=True, add_special_tokens=False)["input_ids"]
    assert {PAD, EOS} & set(plain)  # the trap
    assert not {BOS, PAD, EOS} & set(body(unigram, caption).tolist())


@given(caption=st.text(max_size=60))
def test_any_text_has_one_eos_and_it_is_last(trained, caption):
    ids = CaptionEncoder(trained, context_length=16).encode([caption])[0]
    assert ids.dtype == np.int32
    assert 2 <= len(ids) <= 16
    assert np.flatnonzero(ids == EOS).tolist() == [len(ids) - 1]
    assert ids[0] == BOS


def test_a_caption_longer_than_the_context_is_cut_before_its_eos(tokenizer):
    ids = CaptionEncoder(tokenizer, context_length=8).encode(["forty two cats on a mat " * 20])[0]
    whole = CaptionEncoder(tokenizer, context_length=500).encode(["forty two cats on a mat " * 20])[0]
    assert ids.tolist() == [*whole[:7], EOS]


def test_the_encoder_agrees_with_the_tokenizer_on_plain_captions(tokenizer):
    ours = CaptionEncoder(tokenizer, context_length=12).encode(CAPTIONS)
    theirs = tokenizer(CAPTIONS, truncation=True, max_length=12)["input_ids"]
    assert [row.tolist() for row in ours] == theirs


def test_captions_are_encoded_alike_alone_and_together(tokenizer):
    encoder = CaptionEncoder(tokenizer, context_length=12)
    together = encoder.encode(CAPTIONS)
    assert [row.tolist() for row in together] == [encoder.encode([c])[0].tolist() for c in CAPTIONS]
    assert encoder.encode([]) == []


@pytest.mark.parametrize("absent", ["bos_token", "eos_token", "pad_token"])
def test_a_tokenizer_without_a_framing_token_is_refused(trained, absent):
    kept = {name: token for name, token in FRAME.items() if name != absent}
    broken = PreTrainedTokenizerFast(tokenizer_object=trained.backend_tokenizer, **kept)
    with pytest.raises(ValueError, match=absent.partition("_")[0].upper()):
        CaptionEncoder(broken, context_length=16)


def test_a_tokenizer_whose_bos_is_its_eos_is_refused(trained):
    broken = PreTrainedTokenizerFast(tokenizer_object=trained.backend_tokenizer, **FRAME | {"bos_token": "</s>"})
    with pytest.raises(ValueError, match="same token"):
        CaptionEncoder(broken, context_length=16)


def test_a_context_without_room_is_refused(trained):
    with pytest.raises(ValueError, match="at least 3"):
        CaptionEncoder(trained, context_length=2)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no tokenizer"):
        load_tokenizer(tmp_path)


def unigram_pieces(*special):
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    unknown = {"unk_token": "<unk>"}
    trainer = trainers.UnigramTrainer(vocab_size=150, special_tokens=[*special], show_progress=False, **unknown)
    backend.train_from_iterator(CAPTIONS, trainer)
    return [tuple(piece) for piece in json.loads(backend.to_str())["model"]["vocab"]]


def xlm_roberta():
    return XLMRobertaTokenizer(vocab=unigram_pieces("<s>", "<pad>", "</s>", "<unk>"))


def t5():
    """Frames nothing at the beginning by itself."""
    tokenizer = T5Tokenizer(vocab=unigram_pieces("<pad>", "</s>", "<unk>", "<s>"))
    tokenizer.bos_token = "<s>"  # noqa: S105
    return tokenizer


def clip():
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel()
    ends = ["<|startoftext|>", "<|endoftext|>"]
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=ends, initial_alphabet=letters, show_progress=False)
    backend.train_from_iterator(CAPTIONS, trainer)
    learned = json.loads(backend.to_str())["model"]
    return CLIPTokenizer(vocab=learned["vocab"], merges=[tuple(merge) for merge in learned["merges"]])


@pytest.mark.parametrize("make", [lambda: train_tokenizer(CAPTIONS * 3, vocab_size=400), xlm_roberta, t5, clip])
def test_the_encoder_of_a_saved_folder_is_that_of_its_tokenizer(make, tmp_path):
    save_tokenizer(make(), tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    captions = [*CAPTIONS, "a </s> <s> <pad> <unk> <|endoftext|> b", "  two\n\tlines ﬁne ", "", "U.S. and St. Louis 🙂"]
    expected = CaptionEncoder(tokenizer, context_length=24).encode(captions)
    found = load_encoder(tmp_path, context_length=24).encode(captions)
    assert [ids.tolist() for ids in found] == [ids.tolist() for ids in expected]
    assert max(map(len, found)) > 3


def test_a_folder_in_the_layout_of_xlm_v_frames_captions_with_its_ids(unigram, tmp_path):
    unigram.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    settings = FRAME | {"unk_token": "<unk>", "tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 512}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    loaded = load_tokenizer(tmp_path)
    assert special_ids(loaded) == SpecialIds(bos=BOS, eos=EOS, pad=PAD)
    assert CaptionEncoder(loaded, context_length=8).encode(["a </s> a"])[0].tolist()[-1] == EOS
    assert body(loaded, "sa").tolist() == body(unigram, "sa").tolist()


def test_a_tokenizer_file_alone_states_no_frame_and_is_refused(trained, tmp_path):
    trained.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match="no BOS and no EOS and no PAD"):
        CaptionEncoder(load_tokenizer(tmp_path), context_length=16)


def test_code_of_a_tokenizer_folder_is_not_run(trained, tmp_path):
    save_tokenizer(trained, tmp_path)
    (tmp_path / "evil.py").write_text("raise SystemExit('run')")
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config["auto_map"] = {"AutoTokenizer": ["evil.Slow", "evil.Fast"]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert special_ids(load_tokenizer(tmp_path)).eos == EOS
