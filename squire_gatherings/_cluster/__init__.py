"""Several processes that form one hall: who has a gathering, and how its clients get there."""
