"""What a part of the product asks of whoever wants in: certain plans, a feature, both, or any access at all."""

from typing import NamedTuple

from .errors import ConfigError
from .models import Access
from .plans import Plan


class Requirement(NamedTuple):
    """Any of these plans, where some are named, and this feature, where one is."""

    plans: tuple[str, ...]
    feature: str | None

    def check(self, known: tuple[Plan, ...]) -> None:
        """Refuse names that no plan has: a slip of the pen would else shut everybody out, or say nothing at all.

        Errors  ConfigError that says what there is
        """
        keys = [plan.key for plan in known]
        features = sorted({feature for plan in known for feature in plan.features})
        unknown = [plan for plan in self.plans if plan not in keys]
        problems = [f"no plan is called {plan!r}; plans.toml has {', '.join(keys)}" for plan in unknown]
        if self.feature is not None and self.feature not in features:
            there = ", ".join(features) or "none"
            problems.append(f"no plan has the feature {self.feature!r}; plans.toml has {there}")
        if problems:
            raise ConfigError(problems)

    def is_met_by(self, access: Access) -> bool:
        """Tell whether this answer is enough."""
        has_plan = not self.plans or access.plan in self.plans
        has_feature = self.feature is None or self.feature in access.features
        return access.allowed and has_plan and has_feature
