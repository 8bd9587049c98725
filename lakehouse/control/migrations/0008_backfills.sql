-- How far a backfill is, and whether someone asked it to pause; its plan is in meta.etl_runs.

CREATE TABLE meta.backfills (
    tenant_id   text NOT NULL,
    run_id      text NOT NULL,
    chunks_done integer NOT NULL DEFAULT 0 CHECK (chunks_done >= 0),
    paused      boolean NOT NULL DEFAULT false,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, run_id),
    FOREIGN KEY (tenant_id, run_id) REFERENCES meta.etl_runs
);

GRANT SELECT, INSERT, UPDATE ON meta.backfills TO plata_app;
ALTER TABLE meta.backfills ENABLE ROW LEVEL SECURITY;
ALTER TABLE meta.backfills FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON meta.backfills USING (tenant_id = current_setting('plata.tenant'));
