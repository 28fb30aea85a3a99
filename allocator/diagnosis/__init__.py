"""An infeasible problem: the limits that conflict, and the smallest change that repairs each."""
