import json

from pipelines.registered import remove_unregistered


def snapshot(*names, latest=None, pending=()):
    def told(name):
        return {"version": 0, "checkpoint_dir_name": name, "metrics": {}}

    return json.dumps(
        {
            "checkpoint_results": [told(name) for name in names],
            "latest_checkpoint_result": told(latest) if latest else None,
            "pending_training_results": [told(name) for name in pending],
        }
    )


def write(folder, *names):
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "model.safetensors").write_bytes(b"weights")


def test_checkpoints_that_no_snapshot_names_are_removed_and_nothing_else(tmp_path):
    write(tmp_path, "checkpoint_1", "checkpoint_2", "checkpoint_3", "checkpoint_4", "tokenizer", "stuck")
    (tmp_path / "checkpoint_manager_snapshot.json").write_text(
        snapshot("checkpoint_1", latest="checkpoint_2", pending=["checkpoint_3"])
    )
    assert remove_unregistered(str(tmp_path)) == ["checkpoint_4"]
    left = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert left == {"checkpoint_1", "checkpoint_2", "checkpoint_3", "tokenizer", "stuck"}


def test_without_a_snapshot_nothing_is_registered(tmp_path):
    write(tmp_path, "checkpoint_1", "tokenizer")
    assert remove_unregistered(str(tmp_path)) == ["checkpoint_1"]


def test_run_that_never_began_has_nothing_to_remove(tmp_path):
    assert remove_unregistered(str(tmp_path / "none")) == []
