"""The area under the ROC curve beside scikit-learn's."""

import pytest
import torch
from sklearn.metrics import roc_auc_score

from embodia.perception.scores.auroc import auroc


def test_auroc_is_that_of_scikit_learn_with_ties():
    generator = torch.Generator().manual_seed(0)
    positive = (2 * torch.randn(50, generator=generator) + 1).round()
    negative = (2 * torch.randn(80, generator=generator)).round()
    truth = roc_auc_score([1] * 50 + [0] * 80, torch.cat([positive, negative]).numpy())
    assert auroc(positive, negative) == pytest.approx(truth)
    assert auroc(positive + 100, negative) == 1
