"""HCP Terraform: a run task whose result is the decision."""
