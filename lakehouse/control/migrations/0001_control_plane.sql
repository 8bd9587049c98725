-- The control plane: who the tenants are, what landed, what ran, what was found.
-- Every table carries tenant_id and is read under row-level security: `plata.tenant` is set by the
-- connection, and the application role is neither owner nor superuser.

DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'plata_app') THEN
        CREATE ROLE plata_app NOLOGIN;
    END IF;
END $$;

CREATE TABLE meta.tenants (
    tenant_id  text PRIMARY KEY,
    name       text NOT NULL,
    isolation  text NOT NULL DEFAULT 'logical',
    created_at timestamptz NOT NULL DEFAULT now()
);

-- A tenant's configuration is never edited: a change is a new version.
CREATE TABLE meta.tenant_configs (
    tenant_id  text NOT NULL REFERENCES meta.tenants,
    version    integer NOT NULL,
    config     json NOT NULL, -- not jsonb, which would forget the order of the labels
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, version)
);

-- One row a file that landed in Raw. `content_sha256` is of the file as it was handed in, together
-- with its column mapping, so that the same file lands once. `consumed_by` is the run that took it to Bronze.
CREATE TABLE meta.manifest_index (
    tenant_id      text NOT NULL REFERENCES meta.tenants,
    source         text NOT NULL,
    content_sha256 text NOT NULL,
    run_id         text NOT NULL,
    path           text NOT NULL,
    landed_sha256  text,
    events         bigint,
    file_name      text NOT NULL,
    state          text NOT NULL CHECK (state IN ('landing', 'landed')),
    landed_at      timestamptz NOT NULL,
    consumed_by    text,
    PRIMARY KEY (tenant_id, source, content_sha256)
);

CREATE TABLE meta.etl_runs (
    tenant_id    text NOT NULL REFERENCES meta.tenants,
    run_id       text NOT NULL,
    kind         text NOT NULL,
    status       text NOT NULL CHECK (status IN ('RUNNING', 'COMPLETED', 'DEGRADED', 'FAILED')),
    seed         bigint NOT NULL,
    code_version text NOT NULL,
    started_at   timestamptz NOT NULL,
    finished_at  timestamptz,
    plan         jsonb NOT NULL,
    manifest     jsonb,
    error        text,
    PRIMARY KEY (tenant_id, run_id)
);
CREATE INDEX etl_runs_open ON meta.etl_runs (tenant_id, kind) WHERE status = 'RUNNING';

CREATE TABLE meta.data_quality (
    tenant_id text NOT NULL REFERENCES meta.tenants,
    run_id    text NOT NULL,
    layer     text NOT NULL,
    "table"   text NOT NULL,
    "check"   text NOT NULL,
    severity  text NOT NULL CHECK (severity IN ('critical', 'warning')),
    passed    boolean NOT NULL,
    observed  text NOT NULL,
    expected  text NOT NULL,
    PRIMARY KEY (tenant_id, run_id, "table", "check")
);

-- One row a comparison of a run's answers with the training reference of the model that gave them.
-- `report_path` is null where there was too little to compare, or no reference.
CREATE TABLE meta.drift_reports (
    tenant_id      text NOT NULL REFERENCES meta.tenants,
    run_id         text NOT NULL,
    task           text NOT NULL,
    model          text NOT NULL,
    verdict        text NOT NULL CHECK (verdict IN ('stable', 'watch', 'drift', 'insufficient_data', 'no_reference')),
    reference_rows bigint NOT NULL CHECK (reference_rows >= 0),
    current_rows   bigint NOT NULL CHECK (current_rows >= 0),
    report_path    text,
    measured_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, run_id, task)
);

-- The numbers of a comparison: one a feature and method, ours and Evidently's side by side.
CREATE TABLE meta.drift (
    tenant_id text NOT NULL,
    run_id    text NOT NULL,
    task      text NOT NULL,
    feature   text NOT NULL,
    method    text NOT NULL,
    score     double precision,
    threshold double precision NOT NULL,
    drifted   boolean NOT NULL,
    PRIMARY KEY (tenant_id, run_id, task, feature, method),
    FOREIGN KEY (tenant_id, run_id, task) REFERENCES meta.drift_reports
);

GRANT USAGE ON SCHEMA meta TO plata_app;
GRANT SELECT, INSERT, UPDATE ON
    meta.manifest_index, meta.etl_runs, meta.data_quality, meta.drift_reports, meta.drift TO plata_app;
GRANT DELETE ON meta.drift TO plata_app;
GRANT SELECT ON meta.tenants, meta.tenant_configs TO plata_app;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['tenants', 'tenant_configs', 'manifest_index', 'etl_runs', 'data_quality', 'drift_reports', 'drift']
    LOOP
        EXECUTE format('ALTER TABLE meta.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE meta.%I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY one_tenant ON meta.%I USING (tenant_id = current_setting(''plata.tenant''))', name);
    END LOOP;
END $$;
