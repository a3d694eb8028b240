-- Feast's registry, beside MLflow's database; run once, when the volume is new.
CREATE DATABASE feast;
