"""One closed configuration for everything: the command line, the jobs, Tune and MLflow see the same `RunConfig`.

A recipe is a YAML file that states only what differs from the defaults. What a result depends on stands apart from
`compute`, where it runs, and `tracking`, where it is recorded: those two never change an artefact's version.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from metaclip_core.automata.engines import Engine
from metaclip_core.metadata.importing import MAX_ENTRY_CHARS
from metaclip_core.metadata.ranking import BigramRanking
from metaclip_core.metadata.wordnet import WordNetWords
from metaclip_core.text import NormaliserMode
from pipelines.errors import UserError
from pipelines.stores import holds_keys


def _without_keys(uri: str) -> str:
    if holds_keys(uri):
        raise ValueError("a recipe holds no keys and no passwords, for it is recorded: give them in the environment")
    return uri


Uri = Annotated[str, AfterValidator(_without_keys)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of the configuration: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SampleConfig(Section):
    """The sample pool, where a recipe makes one."""

    num_images: Count = 20_000
    shard_rows: Count = 500
    seed: int = 0


class PoolFormat(StrEnum):
    """Layouts of a pool."""

    WEBDATASET = "webdataset"
    PARQUET = "parquet"


class ColumnsConfig(Section):
    """The columns of a parquet pool; null: it has none."""

    url: str | None = "url"
    captions: str = "captions"  # a string, a list of strings, or a list of structs of kind and text
    image: str | None = "image"  # its bytes; or image_path
    image_path: str | None = None  # of its file, relative to the pool
    key: str | None = None  # names a pair without a URL; null: its row does

    @model_validator(mode="after")
    def _one_image(self) -> Self:
        if (self.image is None) == (self.image_path is None):
            raise ValueError("give one of image and image_path, and set the other to null")
        return self


class PoolConfig(Section):
    """The raw pairs, and what of them is read."""

    name: str = "pool"
    uri: Uri = "pool"  # a folder of shards; relative to the root
    format: PoolFormat = PoolFormat.WEBDATASET
    columns: ColumnsConfig = ColumnsConfig()  # of a parquet pool
    max_image_bytes: Count = 20_000_000
    max_metadata_bytes: Count = 1_000_000
    max_caption_chars: Count = 5_000


class MetadataSource(StrEnum):
    """Where entries come from. Earlier ones win, in the order of the recipe."""

    NUMBER = "number"  # 0 to 99
    WORDNET = "wordnet"
    UNIGRAM = "unigram"
    BIGRAM = "bigram"
    TITLE = "title"


class WordNetConfig(Section):
    """Princeton's dictionary and Open Multilingual WordNets."""

    uri: str | None = None  # a folder; relative to the root
    words: WordNetWords = WordNetWords.LEMMAS


class WikipediaConfig(Section):
    """Words and bigrams of Wikipedias. A top share is of all different words; a cap, of what the source adds."""

    uri: str | None = None  # a folder of dumps or extracted text; relative to the root
    slice_mb: Count = 64  # of a multistream dump, read by one task
    max_page_bytes: Count = 8 << 20
    max_distinct: Count = 2_000_000  # words and bigrams counted at once in a task, some 200 bytes each
    unigram_share: Share = 0.1
    unigram_min_count: Count = 1
    unigram_cap: Count = 251_465
    bigram_ranking: BigramRanking = BigramRanking.WEIGHTED
    bigram_pmi_min: float = 30.0  # bits, for the ranking by PMI; no more than log2 of a Wikipedia's words is possible
    bigram_min_count: Count = 5
    bigram_cap: Count = 100_646


class TitlesConfig(Section):
    """Titles of Wikipedias by page views."""

    uri: str | None = None  # a folder of hourly files; relative to the root
    max_rows: Count = 1_000_000  # counted at once in a task
    min_views: Count = 1
    share: Share = 0.76
    cap: Count = 61_235


class BuildConfig(Section):
    """What `metaclip metadata build` makes entries of."""

    languages: list[str] | None = None  # metadata languages; None: all that a source has
    order: list[MetadataSource] = list(MetadataSource)  # the first source of an entry wins; one left out is not used
    required: list[MetadataSource] = []  # without these it is an error
    wordnet: WordNetConfig = WordNetConfig()
    wikipedia: WikipediaConfig = WikipediaConfig()
    titles: TitlesConfig = TitlesConfig()
    max_entry_chars: Count = MAX_ENTRY_CHARS
    memory_mb: Count = 1_024  # for adding up the counts of a language; the rest goes to disk

    @model_validator(mode="after")
    def _requires_what_it_uses(self) -> Self:
        if len(set(self.order)) < len(self.order):
            raise ValueError("order names a source twice")
        if missing := sorted(set(self.required) - set(self.order)):
            raise ValueError(f"required sources are not in order: {', '.join(missing)}")
        return self


class MetadataConfig(Section):
    """The entry lists that captions are matched with."""

    name: str = "metadata"
    version: str | None = None  # None: what the name stands for now
    build: BuildConfig = BuildConfig()


class DuplicatePolicy(StrEnum):
    """What happens to pairs with an id that the pool has already."""

    FIRST = "first"  # the first shard and row wins
    KEEP = "keep"


class IdentifierName(StrEnum):
    """What says which language a caption is in."""

    LID176 = "lid176"  # fastText's, installed with the program
    CLD2 = "cld2"  # the extra of this name
    FASTTEXT = "fasttext"  # the model file at `identifier_uri`


class JointCaptions(StrEnum):
    """When the captions of an image are identified as one text."""

    NEVER = "never"
    UNSURE = "unsure"  # where each alone is below `min_language_score`


class CurationConfig(Section):
    """Captions → languages, entries, thresholds."""

    identifier: IdentifierName = IdentifierName.LID176
    identifier_uri: Annotated[Uri | None, Field(validate_default=True)] = None  # relative to the root
    joint_captions: JointCaptions = JointCaptions.NEVER
    min_language_score: Share = 0.3
    normaliser: NormaliserMode = NormaliserMode.UNICODE
    duplicates: DuplicatePolicy = DuplicatePolicy.FIRST
    p: Share | None = 0.06  # share of matches in tail entries; or t_en
    t_en: Count | None = None
    batch_rows: Count = 16_384  # matched at once: languages take turns under a budget
    max_dropped: dict[str, Share] = Field(default_factory=lambda: {"shard_unreadable": 0.01, "shard_truncated": 0.05})

    @field_validator("identifier_uri")
    @classmethod
    def _file_of_its_identifier(cls, uri: str | None, info: ValidationInfo) -> str | None:
        identifier = info.data.get("identifier")
        if identifier is IdentifierName.FASTTEXT and not uri:
            raise ValueError("identifier fasttext needs the URI of a model file")
        if identifier in {IdentifierName.LID176, IdentifierName.CLD2} and uri is not None:
            raise ValueError(f"identifier {identifier} takes no model file; did you mean identifier fasttext?")
        return uri

    @model_validator(mode="after")
    def _one_dial(self) -> Self:
        if (self.p is None) == (self.t_en is None):
            raise ValueError("give one of p and t_en, and set the other to null")
        return self


class FeedConfig(Section):
    """The stream of training examples."""

    window_positions: Count = 8_192
    interleaved_shards: Count = 8
    chunk_rows: Count = 16  # rows of one shard that stand together
    shuffle_rows: Annotated[int, Field(ge=0)] = 2_048  # per worker
    decode_rows: Count = 256
    max_pixels: Count = 50_000_000


class ModelConfig(Section):
    """The model and its tokenizer."""

    preset: str = "tiny"
    vocab_size: Count = 4_096
    tokenizer_captions: Count = 200_000  # at most so many train the tokenizer


class TrainingConfig(Section):
    """The optimisation."""

    steps: Count = 1_000
    global_batch_size: Count = 128
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    weight_decay: Annotated[float, Field(ge=0)] = 0.2
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    checkpoint_every_steps: Count = 500
    log_every_steps: Count = 20
    checkpoints_kept: Count = 2

    @model_validator(mode="after")
    def _warms_up_in_time(self) -> Self:
        if self.warmup_steps > self.steps:
            raise ValueError(f"warmup_steps {self.warmup_steps} is more than steps {self.steps}")
        return self


class EvaluationConfig(Section):
    """What a model is measured on."""

    sets: list[Uri] = []  # folders; relative to the root
    batch_rows: Count = 256


class TrackingConfig(Section):
    """The record in MLflow."""

    uri: Uri | None = None  # None: a sqlite file in `state`
    experiment: str = "worldwide-clip"
    state: str = "~/.local/state/metaclip"


class ComputeConfig(Section):
    """Where it runs. Never part of a version: results do not depend on it."""

    address: str | None = None  # a Ray cluster; None: RAY_ADDRESS, else one on this machine
    local_cpus: Count = 6  # logical CPUs of a cluster on this machine
    object_store_mb: Count = 512  # of a cluster on this machine
    max_actors: Count = 2  # of a curation stage
    matcher_engine: Engine = Engine.PYAHOCORASICK
    matcher_budget_mb: Count | None = None  # of automata held by one matcher; None: of all languages met
    matcher_threads: Count = 1  # that share one matcher
    shard_blocks: Count = 2_000  # read tasks planned at once
    num_workers: Count = 2
    use_gpu: bool = False
    worker_cpus: Annotated[float, Field(gt=0)] = 1
    worker_threads: Count = 1
    feed_actors: Count = 1
    decode_actors: Count = 1
    max_failures: Annotated[int, Field(ge=-1)] = 3
    timeout_s: Count = 600  # without progress of the data stream


class RunConfig(Section):
    """Everything that a job needs to know."""

    recipe: str = "default"
    root: Uri = "state"
    seed: int = 0
    sample: SampleConfig = SampleConfig()
    pool: PoolConfig = PoolConfig()
    metadata: MetadataConfig = MetadataConfig()
    curation: CurationConfig = CurationConfig()
    feed: FeedConfig = FeedConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    tracking: TrackingConfig = TrackingConfig()
    compute: ComputeConfig = ComputeConfig()

    @model_validator(mode="after")
    def _batch_divides(self) -> Self:
        if self.training.global_batch_size % self.compute.num_workers:
            raise ValueError(
                f"training.global_batch_size {self.training.global_batch_size} does not divide by "
                f"compute.num_workers {self.compute.num_workers}"
            )
        return self


def build_config(recipe: Mapping[str, Any], *, overrides: Sequence[str] = ()) -> RunConfig:
    """The configuration of a recipe's content, which is left as it is.

    Args:
        recipe: nested keys and values.
        overrides: `a.b=c`, c in YAML.

    Raises:
        UserError: unknown keys, impossible values; names the key's path.
    """
    content = copy.deepcopy(dict(recipe))
    for override in overrides:
        _apply(content, override)
    try:
        return RunConfig.model_validate(content)
    except ValidationError as error:
        raise UserError("; ".join(_describe(problem) for problem in error.errors())) from error


def _apply(content: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise UserError(f"--set takes a.b=c, got {override!r}")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: looks like a date or a number, and is none
        raise UserError(f"--set {path}: {text!r} is no YAML value") from error
    *parents, key = path.split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
        if not isinstance(content, dict):
            raise UserError(f"--set {path}: {parent} is no section")
    content[key] = value


def _describe(problem: Any) -> str:  # noqa: ANN401 - pydantic's error details
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key {path}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{path}: {message}" if path else message
