"""Studies, examples and reference results: in the clone, and in an installed wheel."""

import ast
import json
import shutil
import subprocess
import sys
import zipfile

import pytest
from cli import cabench
from specs import ROOT

from cabench import load_model, load_results
from cabench.config.files import as_named, studies, study_path
from cabench.errors import CabenchError
from cabench.records.store import REFERENCE, reference
from cabench.report.methods_section import command as run_command
from cabench.runtime.bundled import bundled

LEFT_OUT = (".git", ".venv*", ".cabench", "build", "dist", "*.egg-info", "reports", "tests")


def test_the_wheel_is_built_with_every_folder_that_is_looked_up(tmp_path):
    (folders,) = (
        ast.literal_eval(node.value)
        for node in ast.parse((ROOT / "setup.py").read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FOLDERS"
    )
    assert set(folders) == {"studies", "examples", REFERENCE}
    for name in folders:
        assert bundled(name).is_dir()
        assert bundled(name, tmp_path / "cabench") == tmp_path / "cabench" / "bundled" / name


def test_a_study_has_a_name_from_anywhere_and_a_file_here_goes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = study_path("layer_placement")
    assert path == ROOT / "studies" / "layer_placement.yaml" and as_named(path) == path.stem
    assert reference() == ROOT / REFERENCE
    (tmp_path / "studies").mkdir()
    own = shutil.copy(path, "studies")
    assert study_path("layer_placement") == studies()["layer_placement"]
    assert str(study_path("layer_placement")) == own == as_named(studies()["layer_placement"])
    assert as_named(path) == str(path)  # the name is another file's here
    (tmp_path / REFERENCE).mkdir(parents=True)
    assert str(reference()) == REFERENCE
    monkeypatch.chdir(ROOT)
    assert str(study_path("layer_placement")) == "studies/layer_placement.yaml"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("layer_placment", r"unknown study 'layer_placment' \(did you mean 'layer_placement'\?\)"),
        ("studies/aa.yaml", r"no study file 'studies/aa.yaml'.*'aa' comes with cabench"),
    ],
)
def test_a_name_or_path_that_is_no_study(word, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CabenchError, match=said):
        study_path(word)
    for command in (("run", word), ("ladder", word, "--rungs", "smoke,quick")):
        code, out, err = cabench(*command)
        assert (code, out) == (2, "") and err.startswith("cabench: ") and err.count("\n") == 1


def test_an_empty_folder_is_given_names_that_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = cabench("status")
    assert (code, err) == (0, "") and "cabench run layer_placement`" in out
    code, out, err = cabench("compare", "layer_placement:can-3", "layer_placement:native+dw")
    assert code == 0 and f"the committed reference, {ROOT / REFERENCE}" in err and "can-3" in out
    results = load_results("layer_placement")
    assert run_command(results.run.manifest).startswith("cabench run layer_placement --scale")
    with pytest.raises(CabenchError, match="train it with: cabench run layer_placement"):
        load_model("layer_placement", "can-3")
    listed = cabench("list").out.split("scales")[0]
    assert "  layer_placement " in listed and "studies/" not in listed
    code, _, err = cabench("compare", "aa", "aa", "--results", "results2")
    assert code == 2 and "no runs in results2" in err


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The tree of a wheel that is built from the clone's files."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*LEFT_OUT))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", folder, source], check=True, timeout=600)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.mark.full
def test_the_wheel_works_in_an_empty_folder(wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(wheel))

    def run(*words):
        command = [sys.executable, "-m", "cabench", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr
        return done.stdout

    program = "import cabench; print(cabench.__file__)"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True)
    assert done.stdout.decode().startswith(str(wheel))
    out = run("list")
    assert all(name in out for name in ("layer_placement", "text_to_image", "quick"))
    reference_files = wheel / "cabench" / "bundled" / REFERENCE
    images = [path for path in reference_files.rglob("*") if path.suffix in (".png", ".pdf")]
    assert images and all(path.parent.name == "records" for path in images)
    assert "pages in site" in run("site", "site")
    assert "±" in run("report", "layer_placement")
    assert (tmp_path / "reports" / "layer_placement.quick.pdf").stat().st_size > 100_000
    run("init")
    run("try", "gated_kernels.py", "--scale", "smoke", "--seeds", "2", "--minutes", "0")
    run("run", "layer_placement", "--scale", "smoke")
    manifest = json.loads((tmp_path / "results/layer_placement.smoke/manifest.json").read_text())
    assert manifest["study_file"] == "layer_placement"
    assert "same" in run("status")
