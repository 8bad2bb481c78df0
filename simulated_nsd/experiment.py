"""Which picture is shown when: the plan that all subjects of an experiment share.

As in NSD, the order of trials is the same for everybody, the shared pictures stand at the same
places in it, and the three presentations of a picture come from a mixture of a narrow and a flat
distribution over the experiment, so that some repetitions follow within minutes and others after
sessions (Allen et al., 2022, Nature Neuroscience 25, 116-126).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fmri_utils.project.simulation_config import (
    N_REPEATS,
    N_SUBJECTS,
    RUNS_PER_SESSION,
    TRIALS_PER_RUN,
    TRIALS_PER_SESSION,
    SimulationConfig,
)

NEAR_SHARE = 0.5  # presentations drawn from the narrow distribution
NEAR_TRIALS = 120  # its SD
MIN_LAG = 2  # trials between two presentations of a picture
TRIAL_S = 4.0
VOLUMES_PER_RUN = 225
VOLUMES_PER_TRIAL = 3


@dataclass(frozen=True)
class Design:
    """The plan of an experiment. All numbers start at 1, as in NSD's files.

    Attributes
    ----------
    masterordering : ndarray of uint16, shape (1, n_trials)
        Position of the picture of each trial among the subject's own pictures.
    subjectim : ndarray of int32, shape (8, n_images)
        Stimulus id of every picture of every subject; the shared ones come first, ascending.
    sharedix : ndarray of int32, shape (1, n_shared)
        Stimulus ids of the shared pictures, ascending.
    basiccnt : ndarray of uint16, shape (3, n_sessions)
        Pictures shown exactly once, twice and three times within each session.
    stimpattern : ndarray of uint8, shape (n_sessions, 12, 75)
        1 where a picture is shown, 0 for a blank trial.
    """

    masterordering: np.ndarray
    subjectim: np.ndarray
    sharedix: np.ndarray
    basiccnt: np.ndarray
    stimpattern: np.ndarray

    def trial_ids(self, subject: int, n_sessions: int) -> np.ndarray:
        """Stimulus ids (from 1) in the order of trials, shape (750 n_sessions,)."""
        order = self.masterordering[0, : n_sessions * TRIALS_PER_SESSION].astype(int) - 1
        return self.subjectim[subject - 1, order]


def make_design(config: SimulationConfig) -> Design:
    """Plan the experiment.

    Parameters
    ----------
    config : SimulationConfig
        Numbers of pictures, seed.

    Returns
    -------
    Design
    """
    rng = np.random.default_rng([config.seed, 0, 100])
    order = _order_trials(config, rng)
    shared = np.sort(rng.choice(config.n_ids, config.n_shared, replace=False)) + 1
    own = np.setdiff1d(np.arange(1, config.n_ids + 1), shared)
    own = rng.permutation(own).reshape(N_SUBJECTS, config.n_own)
    subjectim = np.concatenate([np.tile(shared, (N_SUBJECTS, 1)), own], axis=1)
    counts = np.zeros((N_REPEATS, config.n_sessions), np.uint16)
    for session, images in enumerate(order.reshape(config.n_sessions, TRIALS_PER_SESSION)):
        times = np.unique(images, return_counts=True)[1]
        counts[:, session] = [np.sum(times == k + 1) for k in range(N_REPEATS)]
    return Design(
        (order + 1)[None].astype(np.uint16),
        subjectim.astype(np.int32),
        shared[None].astype(np.int32),
        counts,
        _stimulus_pattern(config.n_sessions, rng),
    )


def _order_trials(config: SimulationConfig, rng: np.random.Generator) -> np.ndarray:
    """Trial -> picture (from 0): three presentations of each, at mixed distances."""
    n_trials = config.n_images * N_REPEATS
    # Middles are spread evenly, for the shared pictures and the others by themselves, so that
    # every session shows its part of both.
    parts = config.n_shared, config.n_own
    middles = [(rng.permutation(n) + rng.random(n)) / n * n_trials for n in parts]
    middles = np.concatenate(middles)
    near = rng.normal(0, NEAR_TRIALS, (config.n_images, N_REPEATS)) + middles[:, None]
    flat = rng.uniform(0, n_trials, near.shape)
    times = np.where(rng.random(near.shape) < NEAR_SHARE, near, flat) % n_trials
    images = np.repeat(np.arange(config.n_images), N_REPEATS)
    order = images[np.argsort(times.ravel(), kind="stable")]
    return _part_neighbours(order, rng)


def _part_neighbours(order: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Exchange trials until no picture follows itself within ``MIN_LAG`` trials."""
    order = order.copy()
    for _ in range(1000):
        close = [np.flatnonzero(order[lag:] == order[:-lag]) + lag for lag in range(1, MIN_LAG + 1)]
        bad = np.unique(np.concatenate(close))
        if bad.size == 0:
            return order
        # Partners come from nearby: the statistics of the distances must not change.
        partner = np.clip(bad + rng.integers(-25, 26, bad.size), 0, order.size - 1)
        for i, j in zip(bad, partner, strict=True):
            order[i], order[j] = order[j], order[i]
    raise AssertionError("no order without immediate repetitions was found")


def _stimulus_pattern(n_sessions: int, rng: np.random.Generator) -> np.ndarray:
    """Blank trials of each run: the first three, the last four, five or six in between."""
    pattern = np.ones((n_sessions, RUNS_PER_SESSION, TRIALS_PER_RUN), np.uint8)
    pattern[..., :3] = 0
    pattern[..., -4:] = 0
    for runs in pattern:
        for number, run in enumerate(runs):
            blanks = 4 + 9 + 13 * np.arange(5) + rng.integers(-3, 4, 5)
            run[blanks] = 0
            if number % 2:  # even runs (from 1) lack the 63rd picture
                run[np.flatnonzero(run)[-1]] = 0
    return pattern


def run_and_trial(pattern: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Run (1-12) and number within the run (1-63) of a session's 750 pictures.

    Parameters
    ----------
    pattern : ndarray of uint8, shape (12, 75)
        One session of ``Design.stimpattern``.
    """
    per_run = pattern.astype(int).sum(axis=1)
    run = np.repeat(np.arange(1, RUNS_PER_SESSION + 1), per_run)
    return run, np.concatenate([np.arange(1, n + 1) for n in per_run])


def design_tables(pattern: np.ndarray, ids: np.ndarray) -> list[np.ndarray]:
    """Volume-by-volume tables of a session's runs: the stimulus id at its onset, otherwise 0.

    Parameters
    ----------
    pattern : ndarray of uint8, shape (12, 75)
        One session of ``Design.stimpattern``.
    ids : ndarray of int, shape (750,)
        Stimulus ids from 1, in the order of trials.

    Returns
    -------
    list of 12 ndarrays of int, shape (225,)
    """
    shown = np.zeros(pattern.shape, int)
    shown[pattern > 0] = ids
    tables = np.zeros((RUNS_PER_SESSION, VOLUMES_PER_RUN), int)
    tables[:, ::VOLUMES_PER_TRIAL] = shown
    return list(tables)


def make_responses(
    design: Design, subject: int, n_sessions: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Simulate the recognition task: was this picture shown before?

    Parameters
    ----------
    design : Design
        The plan.
    subject : int
        1 to 8.
    n_sessions : int
        Sessions that the subject completed.
    rng : numpy.random.Generator
        Draws answers and reaction times.

    Returns
    -------
    pandas.DataFrame
        NSD's 19 columns, one row per trial.
    """
    order = design.masterordering[0, : n_sessions * TRIALS_PER_SESSION].astype(int)
    ids = design.trial_ids(subject, n_sessions)
    session = np.repeat(np.arange(1, n_sessions + 1), TRIALS_PER_SESSION)
    places = [run_and_trial(pattern) for pattern in design.stimpattern[:n_sessions]]
    run, trial = (np.concatenate(parts) for parts in zip(*places, strict=True))
    seen = pd.Series(order).groupby(order)
    old = seen.cumcount().to_numpy() > 0
    recent, first = _lags(order)
    old_now = old & (recent <= np.arange(order.size) % TRIALS_PER_SESSION)
    answered = rng.random(order.size) > 0.01
    # Memory fades with the distance to the last presentation.
    p_old = np.where(old, 0.55 + 0.38 * np.exp(-np.nan_to_num(recent) / 900), 0.22)
    says_old = rng.random(order.size) < p_old
    missing = np.where(answered, 0.0, np.nan)
    button = np.where(says_old, 2, 1) + missing
    start = (session - 1) * 7 + 10 / 24  # weekly, at ten in the morning
    within = (run - 1) * 330.0 + trial * TRIAL_S * TRIALS_PER_RUN / 63
    return pd.DataFrame(
        {
            "SUBJECT": subject, "SESSION": session, "RUN": run, "TRIAL": trial,
            "73KID": ids, "10KID": order, "TIME": start + within / 86400,
            "ISOLD": old.astype(int), "ISCORRECT": (says_old == old) + missing,
            "RT": np.round(np.exp(rng.normal(6.85, 0.28, order.size)), 3) + missing,
            "CHANGEMIND": (rng.random(order.size) < 0.02) + missing,
            "MEMORYRECENT": recent, "MEMORYFIRST": first,
            "ISOLDCURRENT": old_now.astype(int),
            "ISCORRECTCURRENT": (says_old == old_now) + missing,
            "TOTAL1": (button == 1).astype(int), "TOTAL2": (button == 2).astype(int),
            "BUTTON": button, "MISSINGDATA": 0,
        }
    )  # fmt: skip


def _lags(order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Trials since the last and since the first presentation; NaN for new pictures."""
    table = pd.DataFrame({"image": order, "trial": np.arange(order.size)})
    groups = table.groupby("image")["trial"]
    recent = groups.diff().to_numpy()
    first = (table["trial"] - groups.transform("first")).to_numpy(float)
    return recent, np.where(np.isnan(recent), np.nan, first)
