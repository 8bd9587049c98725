-- The rest of served Gold, and views for analysts. No free text. Each load replaces a tenant's rows at once.

CREATE TABLE gold.kpi_sla_daily (
    tenant_id text NOT NULL, run_id text NOT NULL,
    day date NOT NULL, pqrs_type text NOT NULL,
    settled bigint NOT NULL CHECK (settled >= 0),
    within bigint NOT NULL CHECK (within >= 0),
    overdue bigint NOT NULL CHECK (overdue >= 0),
    within_share double precision NOT NULL CHECK (within_share BETWEEN 0 AND 1),
    mean_overdue_days double precision CHECK (mean_overdue_days >= 0),
    PRIMARY KEY (tenant_id, day, pqrs_type),
    CHECK (within + overdue = settled)
);

CREATE TABLE gold.kpi_first_response_daily (
    tenant_id text NOT NULL, run_id text NOT NULL,
    day date NOT NULL, pqrs_type text NOT NULL,
    responses bigint NOT NULL CHECK (responses >= 0),
    mean_days double precision NOT NULL, median_days double precision NOT NULL,
    p90_days double precision NOT NULL,
    PRIMARY KEY (tenant_id, day, pqrs_type)
);

CREATE TABLE gold.kpi_close_time_daily (
    tenant_id text NOT NULL, run_id text NOT NULL,
    day date NOT NULL, pqrs_type text NOT NULL,
    closed bigint NOT NULL CHECK (closed >= 0),
    mean_days double precision NOT NULL, median_days double precision NOT NULL,
    p90_days double precision NOT NULL, mean_clock_days double precision NOT NULL,
    PRIMARY KEY (tenant_id, day, pqrs_type)
);

CREATE TABLE gold.tickets_snapshot (
    tenant_id text NOT NULL, run_id text NOT NULL,
    ticket_id text NOT NULL,
    day date NOT NULL,
    pqrs_type text NOT NULL, priority text NOT NULL, source_channel text NOT NULL,
    geo_region text NOT NULL, geo_municipio text, dane_city_code text,
    state text NOT NULL, is_open boolean NOT NULL,
    created_at timestamptz NOT NULL, radicated_at timestamptz, first_response_at timestamptz,
    closed_at timestamptz, state_since timestamptz NOT NULL,
    reopened bigint NOT NULL CHECK (reopened >= 0),
    sla_term_days bigint CHECK (sla_term_days >= 0), sla_due_at timestamptz,
    sla_elapsed_days double precision NOT NULL CHECK (sla_elapsed_days >= 0),
    is_overdue boolean NOT NULL,
    overdue_days double precision NOT NULL CHECK (overdue_days >= 0),
    PRIMARY KEY (tenant_id, ticket_id)
);

CREATE TABLE gold.status_flow (
    tenant_id text NOT NULL, run_id text NOT NULL,
    day date NOT NULL, status_from text NOT NULL, status_to text NOT NULL,
    transitions bigint NOT NULL CHECK (transitions >= 0),
    mean_days double precision,
    PRIMARY KEY (tenant_id, day, status_from, status_to)
);

CREATE TABLE gold.kpi_review_daily (
    tenant_id text NOT NULL, run_id text NOT NULL,
    day date NOT NULL, task text NOT NULL,
    sent bigint NOT NULL CHECK (sent >= 0),
    answered bigint NOT NULL CHECK (answered >= 0),
    waiting bigint NOT NULL CHECK (waiting >= 0),
    mean_wait_days double precision, oldest_wait_days double precision,
    PRIMARY KEY (tenant_id, day, task),
    CHECK (answered + waiting = sent)
);

CREATE TABLE gold.kpi_accuracy_daily (
    tenant_id text NOT NULL, run_id text NOT NULL,
    day date NOT NULL, task text NOT NULL, model text NOT NULL,
    audited bigint NOT NULL CHECK (audited >= 0),
    agreed bigint NOT NULL CHECK (agreed >= 0),
    accuracy double precision NOT NULL CHECK (accuracy BETWEEN 0 AND 1),
    accuracy_low double precision NOT NULL CHECK (accuracy_low BETWEEN 0 AND 1),
    accuracy_high double precision NOT NULL CHECK (accuracy_high BETWEEN 0 AND 1),
    PRIMARY KEY (tenant_id, day, task, model)
);

GRANT SELECT, INSERT, DELETE ON ALL TABLES IN SCHEMA gold TO plata_app;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['kpi_sla_daily', 'kpi_first_response_daily', 'kpi_close_time_daily',
        'tickets_snapshot', 'status_flow', 'kpi_review_daily', 'kpi_accuracy_daily']
    LOOP
        EXECUTE format('ALTER TABLE gold.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE gold.%I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY one_tenant ON gold.%I USING (tenant_id = current_setting(''plata.tenant''))', name);
    END LOOP;
END $$;

-- Views read with the rights of whoever asks: row-level security holds through them.

CREATE VIEW gold.open_tickets WITH (security_invoker = true) AS
SELECT tenant_id, ticket_id, pqrs_type, priority, source_channel, geo_region, geo_municipio, state,
       created_at, state_since, sla_due_at, sla_elapsed_days, is_overdue, overdue_days
FROM gold.tickets_snapshot
WHERE is_open;

CREATE VIEW gold.sla_monthly WITH (security_invoker = true) AS
SELECT tenant_id, date_trunc('month', day)::date AS month, pqrs_type,
       sum(settled)::bigint AS settled, sum(within)::bigint AS within, sum(overdue)::bigint AS overdue,
       sum(within)::double precision / nullif(sum(settled), 0) AS within_share
FROM gold.kpi_sla_daily
GROUP BY tenant_id, month, pqrs_type;

CREATE VIEW gold.transition_matrix WITH (security_invoker = true) AS
SELECT tenant_id, status_from, status_to, sum(transitions)::bigint AS transitions,
       sum(transitions)::double precision
           / sum(sum(transitions)) OVER (PARTITION BY tenant_id, status_from) AS share
FROM gold.status_flow
GROUP BY tenant_id, status_from, status_to;

CREATE VIEW gold.kpi_automation WITH (security_invoker = true) AS
SELECT tenant_id, task, model, sum(classified)::bigint AS classified, sum(accepted)::bigint AS accepted,
       sum(accepted)::double precision / nullif(sum(classified), 0) AS automation_rate
FROM gold.kpi_mlops_daily
GROUP BY tenant_id, task, model;

-- The newest estimate of each model: what the audit says up to the last day with a label.
CREATE VIEW gold.kpi_accuracy WITH (security_invoker = true) AS
SELECT DISTINCT ON (tenant_id, task, model)
       tenant_id, task, model, day, audited, agreed, accuracy, accuracy_low, accuracy_high
FROM gold.kpi_accuracy_daily
ORDER BY tenant_id, task, model, day DESC;

-- What the last look at drift found, task by task.
CREATE VIEW gold.kpi_drift WITH (security_invoker = true) AS
SELECT r.tenant_id, r.task, r.model, r.verdict, r.measured_at, r.reference_rows, r.current_rows,
       count(d.feature) FILTER (WHERE d.drifted) AS features_drifted, count(d.feature) AS features,
       max(d.score / nullif(d.threshold, 0)) AS worst_over_threshold
FROM (
    SELECT DISTINCT ON (tenant_id, task) * FROM meta.drift_reports
    ORDER BY tenant_id, task, measured_at DESC, run_id DESC
) r
LEFT JOIN meta.drift d USING (tenant_id, run_id, task)
GROUP BY r.tenant_id, r.task, r.model, r.verdict, r.measured_at, r.reference_rows, r.current_rows;

-- What runs cost. The measure is compute: the seconds that the steps of a run took, of its last
-- attempt. Its price is the tenant's configuration (cost.per_compute_hour, in cost.currency), 0
-- where none was set; people's time and storage are not in it.
CREATE VIEW gold.kpi_cost_daily WITH (security_invoker = true) AS
SELECT cost.tenant_id, cost.day, cost.runs, cost.tickets, cost.compute_seconds,
       1000 * cost.compute_seconds / nullif(cost.tickets, 0) AS seconds_per_thousand,
       price.currency, price.per_compute_hour,
       1000 * cost.compute_seconds / nullif(cost.tickets, 0) / 3600 * price.per_compute_hour
           AS cost_per_thousand
FROM (
    SELECT run.tenant_id, (run.started_at AT TIME ZONE 'UTC')::date AS day, count(*) AS runs,
           sum((run.manifest -> 'counts' ->> 'silver_tickets')::bigint)::bigint AS tickets,
           sum((SELECT sum(took.value::double precision) FROM jsonb_each_text(run.manifest -> 'seconds') took))
               AS compute_seconds
    FROM meta.etl_runs run
    WHERE run.kind = 'run' AND run.status IN ('COMPLETED', 'DEGRADED') AND run.manifest IS NOT NULL
    GROUP BY run.tenant_id, day
) cost
LEFT JOIN LATERAL (
    SELECT coalesce(config -> 'cost' ->> 'currency', 'COP') AS currency,
           coalesce((config -> 'cost' ->> 'per_compute_hour')::double precision, 0) AS per_compute_hour
    FROM meta.tenant_configs
    WHERE tenant_id = cost.tenant_id ORDER BY version DESC LIMIT 1
) price ON true;

GRANT SELECT ON gold.open_tickets, gold.sla_monthly, gold.transition_matrix, gold.kpi_automation,
    gold.kpi_accuracy, gold.kpi_drift, gold.kpi_cost_daily TO plata_app;
REVOKE INSERT, DELETE ON gold.open_tickets, gold.sla_monthly, gold.transition_matrix, gold.kpi_automation,
    gold.kpi_accuracy, gold.kpi_drift, gold.kpi_cost_daily FROM plata_app;
