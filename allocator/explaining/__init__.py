"""Why a plan gave whom what, and what changed from one plan to another."""
