-- Served Gold: the official analytic API. No free text. Each load replaces a tenant's rows at once.

CREATE SCHEMA gold;

CREATE TABLE gold.kpi_volume_daily (
    tenant_id text NOT NULL, run_id text NOT NULL,
    day date NOT NULL, source_channel text NOT NULL, pqrs_type text NOT NULL,
    tickets bigint NOT NULL CHECK (tickets >= 0),
    PRIMARY KEY (tenant_id, day, source_channel, pqrs_type)
);

CREATE TABLE gold.kpi_type_daily (
    tenant_id text NOT NULL, run_id text NOT NULL,
    day date NOT NULL, task text NOT NULL, label text NOT NULL,
    tickets bigint NOT NULL CHECK (tickets >= 0),
    PRIMARY KEY (tenant_id, day, task, label)
);

CREATE TABLE gold.kpi_backlog_daily (
    tenant_id text NOT NULL, run_id text NOT NULL,
    day date NOT NULL, pqrs_type text NOT NULL, geo_region text NOT NULL,
    open_tickets bigint NOT NULL CHECK (open_tickets >= 0),
    PRIMARY KEY (tenant_id, day, pqrs_type, geo_region)
);

CREATE TABLE gold.kpi_mlops_daily (
    tenant_id text NOT NULL, run_id text NOT NULL,
    day date NOT NULL, task text NOT NULL, model text NOT NULL,
    classified bigint NOT NULL CHECK (classified >= 0),
    accepted bigint NOT NULL CHECK (accepted >= 0),
    review bigint NOT NULL CHECK (review >= 0),
    automation_rate double precision NOT NULL CHECK (automation_rate BETWEEN 0 AND 1),
    mean_score double precision NOT NULL,
    labelled bigint NOT NULL CHECK (labelled >= 0),
    agreed bigint NOT NULL CHECK (agreed >= 0),
    PRIMARY KEY (tenant_id, day, task, model)
);

GRANT USAGE ON SCHEMA gold TO plata_app;
GRANT SELECT, INSERT, DELETE ON ALL TABLES IN SCHEMA gold TO plata_app;

DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'gold'
    LOOP
        EXECUTE format('ALTER TABLE gold.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE gold.%I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY one_tenant ON gold.%I USING (tenant_id = current_setting(''plata.tenant''))', name);
    END LOOP;
END $$;
