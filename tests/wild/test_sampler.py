"""What was fitted with one sampler is not told of another."""

import pytest

from common.settings.wild import read_settings
from common.wild.sampler import sampler_of, why_not


def asked(*flags):
    return read_settings(["walk.npy", *map(str, flags)])[0]


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ([], None),
        (["-num_proposals", 30], None),
        (["-num_proposals", 2], "fitted with 10 hypotheses"),
        (["-sampling_timesteps", 5], "fitted with -sampling_timesteps 2, not 5"),
        (["--test-time-augmentation", "true"], "fitted with --test-time-augmentation own, not True"),
        (["--sampler", "heun"], "fitted with --sampler ddim, not heun"),
        (["--aggregate", "R_Agg"], "fitted with --aggregate S_Agg, not R_Agg"),
    ],
)
def test_why_what_was_fitted_with_the_defaults_is_not_true_of_another_sampler(flags, reason):
    assert why_not(sampler_of(asked()), asked(*flags)) == reason
