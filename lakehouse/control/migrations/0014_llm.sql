-- What an LLM said and what it cost. Texts are not kept: a question is known by their digest, and an
-- answer is a probability a label.

-- One row a question that was answered well: asked again, it is not paid again.
CREATE TABLE meta.llm_answers (
    tenant_id         text NOT NULL REFERENCES meta.tenants,
    prompt_digest     text NOT NULL,
    model             text NOT NULL,
    parameters_digest text NOT NULL,
    text_sha256       text NOT NULL,
    answer            jsonb NOT NULL,
    run_id            text NOT NULL,
    answered_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, prompt_digest, model, parameters_digest, text_sha256)
);

-- One row a reply the endpoint charges for, also those that could not be used. `metered` is false
-- where the reply did not say how many tokens it took, and they were estimated.
CREATE TABLE meta.llm_charges (
    charge_id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id         text NOT NULL REFERENCES meta.tenants,
    run_id            text NOT NULL,
    task              text NOT NULL,
    model             text NOT NULL,
    outcome           text NOT NULL,
    prompt_tokens     bigint NOT NULL CHECK (prompt_tokens >= 0),
    completion_tokens bigint NOT NULL CHECK (completion_tokens >= 0),
    metered           boolean NOT NULL,
    cost              numeric NOT NULL CHECK (cost >= 0),
    currency          text NOT NULL,
    charged_at        timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX llm_charges_run ON meta.llm_charges (tenant_id, run_id);

GRANT SELECT, INSERT ON meta.llm_answers, meta.llm_charges TO plata_app;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['llm_answers', 'llm_charges']
    LOOP
        EXECUTE format('ALTER TABLE meta.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE meta.%I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY one_tenant ON meta.%I USING (tenant_id = current_setting(''plata.tenant''))', name);
    END LOOP;
END $$;
