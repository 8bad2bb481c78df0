"""Malformed profiles, overrides and settings are refused, every one, by ProfileError."""

import dataclasses
import typing

from hypothesis import strategies as st
from malformed import COUNTS, refuse_all

from fmri_utils.project import profiles
from fmri_utils.project.devices import choose_device
from fmri_utils.project.profiles import Profile, load_profile
from fmri_utils.project.simulation_config import SimulationConfig
from pipeline.request import parse_request

SECTIONS = {k: v for k, v in typing.get_type_hints(Profile).items() if dataclasses.is_dataclass(v)}
SECTIONS["simulation"] = SimulationConfig
HINTS = {
    f"{section}.{name}": hint
    for section, kind in SECTIONS.items()
    for name, hint in typing.get_type_hints(kind).items()
}
WRONG = {
    int: ["1.5", '"three"', "true", "[1]", "1979-05-27", "{a = 1}", "nan", "3\nx = 4", "[" * 2000],
    float: ["nan", "inf", "-inf", '"x"', "true", "[1.0]", "1" + 400 * "0", "one half", ""],
    bool: ["1", "0.0", '"true"', "yes", "[true]"],
    str: ["3", "true", "[1]", r'"a\u0000b"', r'"two\nlines"', "{a = 1}", "1979-05-27"],
    tuple: ["3", '"x"', "[[1]]", "[{a = 1}]", "true", "nan", "[1979-05-27]"],
}
NEGATIVE_IS_FINE = {"encoder.log10_alpha_min", "encoder.log10_alpha_max"}
NUMBERS = [k for k, hint in HINTS.items() if hint in (int, float) and k not in NEGATIVE_IS_FINE]


def override(text):
    return load_profile("smoke", overrides=[text])


def test_values_of_the_wrong_type():
    def attempt(case):
        key, which = case
        kind = typing.get_origin(HINTS[key]) or HINTS[key]
        return override(f"{key}={WRONG[kind][which % len(WRONG[kind])]}")

    cases = st.tuples(st.sampled_from(sorted(HINTS)), st.integers(0, 8))
    refuse_all("profiles: types", cases, attempt, more=20)


def test_numbers_out_of_range():
    cases = st.tuples(st.sampled_from(NUMBERS), st.integers(-(10**12), -1))
    refuse_all("profiles: ranges", cases, lambda case: override("{}={}".format(*case)))


def test_unknown_sections_keys_and_settings():
    words = st.text(min_size=1, max_size=12)
    sections = st.sampled_from(sorted(SECTIONS))
    cases = st.one_of(
        st.tuples(st.just("override"), words.filter(lambda t: t.split("=")[0] not in HINTS)),
        st.tuples(st.just("override"), words.map(lambda t: f"nowhere.{t}=1")),
        st.tuples(st.just("override"), st.tuples(sections, words).map("{0[0]}.{0[1]}x=1".format)),
        st.tuples(st.just("setting"), words.map(lambda t: f"{t.replace('.', '')}x=1")),
        st.tuples(st.just("target"), words.map(lambda t: f"{t.replace('=', '')}x")),
    )

    def attempt(case):
        kind, text = case
        return override(text) if kind == "override" else parse_request([text])

    refuse_all("profiles: unknown", cases, attempt, more=5)


def test_broken_profile_files(tmp_path, monkeypatch):
    monkeypatch.setattr(profiles, "FOLDER", tmp_path)
    whole = (profiles.PROJECT_ROOT / "fmri_utils/project/profiles/smoke.toml").read_bytes()
    lines = whole.splitlines(keepends=True)
    rows = st.integers(0, len(lines) - 1)
    junk = [b"=", b"[data]\n[data]\n", b'name = "x"\n[', b"\xff\xfe", b"\0", b"x = [1,\n", b"x y\n"]
    junk += [b'x = """', b"a.b = 1\n[a]\n", b"data = 3\n", b"n_folds = 3\nn_folds = 3\n"]

    def inserted(row, text):
        return b"".join([*lines[:row], text, *lines[row:]])

    cases = st.one_of(
        st.builds(inserted, rows, st.sampled_from(junk)),
        st.integers(0, len(whole) - 60).map(whole.__getitem__).map(lambda b: bytes([b])),
        st.integers(0, len(whole) - 60).map(lambda n: whole[:n]),
        rows.map(lambda row: inserted(row, "größe = 1\n".encode("latin-1"))),
        st.sampled_from(["utf-16", "utf-32", "utf-8-sig", "cp037"]).map(whole.decode().encode),
        st.binary(min_size=1, max_size=80),
    )

    def attempt(data):
        (tmp_path / "smoke.toml").write_bytes(data)
        return load_profile("smoke")

    refuse_all("profiles: files", cases, attempt, more=15)


def test_settings_of_a_run():
    names = ["cup", "", "meta", "cuda:99", "cpu:x", "gpu", "tpu", "cuda:-1", "\0", "auto "]
    cases = st.one_of(
        st.sampled_from(["0", "9", "-1", "1.0", "one", "", "1e3"]).map(lambda s: ("SUBJECT", s)),
        st.sampled_from(["-1", "0.5", "x", "", "0x10", "nan"]).map(lambda s: ("SEED", s)),
        st.sampled_from(names).map(lambda s: ("DEVICE", s)),
        st.sampled_from(["", "Demo", "../demo", "demo.toml", "x"]).map(lambda s: ("PROFILE", s)),
    )

    def attempt(case):
        profile = parse_request(["{}={}".format(*case)]).profile
        return choose_device(profile.device)

    refuse_all("profiles: settings", cases, attempt, more=42)


def test_there_are_three_hundred_cases_and_more():
    assert sum(COUNTS.values()) >= 300


def test_values_that_are_fine_are_taken():
    for key in ("encoder.learning_rate=1", "data.roi=V1+V2", "simulation.write_shared_png=true"):
        profile = override(key)
        again = load_profile("smoke", overrides=profile.overridden)
        assert again == profile
