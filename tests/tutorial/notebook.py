"""What the tutorial's own cells compute: what the real thing is held against."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

CLASSES = ("Low", "Medium", "High")
USERS = {
    "u001": {"age": 25, "income": 50_000, "purchases": 10},
    "u002": {"age": 35, "income": 80_000, "purchases": 25},
    "u003": {"age": 45, "income": 120_000, "purchases": 50},
}


class Notebook:
    """Section 1: the data and the two models."""

    def __init__(self) -> None:
        """Run its cell."""
        values, labels = make_classification(
            n_samples=5000,
            n_features=20,
            n_informative=15,
            n_classes=3,
            n_clusters_per_class=2,
            random_state=42,
        )
        train, self.test, train_labels, self.test_labels = train_test_split(
            values, labels, test_size=0.2, random_state=42
        )
        self._scaler = StandardScaler().fit(train)
        self._models = {
            version: RandomForestClassifier(n_estimators=trees, random_state=42).fit(
                self._scaler.transform(train), train_labels
            )
            for version, trees in ((1, 50), (2, 100))
        }

    def accuracy(self, version: int) -> float:
        """Return the accuracy that its cell prints."""
        predicted = self._models[version].predict(self._scaler.transform(self.test))
        return float(accuracy_score(self.test_labels, predicted))

    def probabilities(self, version: int, rows: slice) -> npt.NDArray[np.float64]:
        """Return what a version says about test rows: float64 [n, 3]."""
        scaled = self._scaler.transform(self.test[rows])
        return np.asarray(self._models[version].predict_proba(scaled), dtype=np.float64)

    def instances(self, rows: slice) -> list[dict[str, float]]:
        """Return test rows as a service takes them."""
        return [
            {f"feature_{number:02}": float(value) for number, value in enumerate(row)}
            for row in self.test[rows]
        ]


def predict_users() -> list[int]:
    """Exercise 2: fit the tutorial's logistic regression, and predict its three users."""
    rows = np.array([list(profile.values()) for profile in USERS.values()])
    model = LogisticRegression(random_state=42).fit(rows, np.array([0, 1, 1]))
    return [int(label) for label in model.predict(rows)]
