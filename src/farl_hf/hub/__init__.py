"""Repositories on the Hugging Face Hub that work where farl_hf is not installed."""

from farl_hf.hub.checkpoint_files import RepositoryFile
from farl_hf.hub.pushing import RepositoryPlan, plan_repository, plan_space, push_repository

__all__ = ["RepositoryFile", "RepositoryPlan", "plan_repository", "plan_space", "push_repository"]
