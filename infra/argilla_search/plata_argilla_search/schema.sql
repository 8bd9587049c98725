-- What a search reads: a schema of our own beside Argilla's tables, kept by triggers in the transaction
-- that changes a record, so it can neither lag nor drift. It holds nothing that Argilla's tables do not:
-- `prepare` drops it before Argilla's migrations and makes it anew after them.

CREATE EXTENSION IF NOT EXISTS btree_gin;
CREATE SCHEMA plata_search;

-- Read a JSON column. One odd escape (NUL, half a surrogate pair), which `json` keeps and `jsonb`
-- refuses, becomes a space here: it must not keep a whole bulk of records out.
CREATE FUNCTION plata_search.read(document json) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN document::jsonb;
EXCEPTION WHEN untranslatable_character OR invalid_text_representation THEN
    RETURN regexp_replace(
        document::text, '\\u(0000|d[89a-f][0-9a-f]{2})', '\\u0020', 'gi')::jsonb;
END $$;

-- Words as they are compared: small letters and digits, without accents, a space between two.
CREATE FUNCTION plata_search.words(wording text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN regexp_replace(
    regexp_replace(lower(normalize(wording, NFKD)), '[\u0300-\u036f]', '', 'g'),
    '[^[:alnum:]]+', ' ', 'g');

-- No stemming, no stop words: what is typed is what is found, in any language. A tsvector holds a
-- megabyte; what comes after a quarter of a million letters is not found.
CREATE FUNCTION plata_search.document(wording text) RETURNS tsvector
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN to_tsvector('simple', plata_search.words(left(wording, 250000)));

-- What can be read in a field: a text, or all that is said in a chat or in a field of a reader's own.
CREATE FUNCTION plata_search.wording(field jsonb) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (
    SELECT string_agg(part #>> '{}', ' ')
    FROM jsonb_path_query(field, 'strict $.**') AS part
    WHERE jsonb_typeof(part) IN ('string', 'number'));

-- A list as a vector; nothing where it is none, or has no direction that could be compared.
CREATE FUNCTION plata_search.as_vector(list json) RETURNS vector
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    value CONSTANT vector := list::text::vector;
BEGIN
    RETURN CASE WHEN vector_norm(value) > 0 THEN value END;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN NULL;
END $$;


CREATE TABLE plata_search.facts (
    record_id   uuid PRIMARY KEY REFERENCES records (id) ON DELETE CASCADE,
    dataset_id  uuid NOT NULL,
    metadata    jsonb NOT NULL,
    suggestions jsonb NOT NULL   -- {question: {"value": …, "score": …, "agent": …, "type": …}}
);

CREATE TABLE plata_search.texts (
    record_id  uuid NOT NULL REFERENCES records (id) ON DELETE CASCADE,
    dataset_id uuid NOT NULL,
    field      text NOT NULL,    -- empty: all fields together
    document   tsvector NOT NULL,
    PRIMARY KEY (record_id, field)
);

CREATE TABLE plata_search.vectors (
    vector_id   uuid PRIMARY KEY REFERENCES vectors (id) ON DELETE CASCADE,
    settings_id uuid NOT NULL,
    record_id   uuid NOT NULL,
    direction   halfvec NOT NULL,   -- of length one, at half the size: what is scanned
    value       vector NOT NULL     -- what the best of them are compared by
);
ALTER TABLE plata_search.vectors
    ALTER COLUMN direction SET STORAGE MAIN, ALTER COLUMN value SET STORAGE EXTERNAL;


CREATE FUNCTION plata_search.facts_of(record records) RETURNS jsonb
LANGUAGE sql STABLE
RETURN CASE json_typeof(record.metadata)
    WHEN 'object' THEN plata_search.read(record.metadata) ELSE '{}' END;

CREATE FUNCTION plata_search.suggestions_of(wanted uuid) RETURNS jsonb
LANGUAGE sql STABLE
RETURN (
    SELECT coalesce(jsonb_object_agg(questions.name, jsonb_build_object(
        'value', plata_search.read(suggestions.value), 'score', suggestions.score,
        'agent', suggestions.agent, 'type', suggestions.type)), '{}')
    FROM suggestions JOIN questions ON questions.id = suggestions.question_id
    WHERE suggestions.record_id = wanted);

-- One row a field that can be read, and one for all of them; a picture's address is not text.
CREATE FUNCTION plata_search.texts_of(record records) RETURNS SETOF plata_search.texts
LANGUAGE sql STABLE AS $$
    WITH known AS (
        SELECT fields.name, plata_search.wording(plata_search.read(record.fields) -> fields.name) AS said
        FROM fields
        WHERE fields.dataset_id = record.dataset_id AND fields.settings ->> 'type' <> 'image'
        ORDER BY fields.inserted_at, fields.name
    )
    SELECT record.id, record.dataset_id, name, plata_search.document(said)
    FROM known WHERE said IS NOT NULL
    UNION ALL
    SELECT record.id, record.dataset_id, '', plata_search.document(string_agg(said, ' '))
    FROM known HAVING count(said) > 0
$$;


CREATE FUNCTION plata_search.records_came() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO plata_search.facts
    SELECT came.id, came.dataset_id, plata_search.facts_of(came::records), '{}'
    FROM came;
    INSERT INTO plata_search.texts
    SELECT said.* FROM came, plata_search.texts_of(came::records) AS said;
    RETURN NULL;
END $$;

CREATE FUNCTION plata_search.words_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM plata_search.texts WHERE record_id = new.id;
    INSERT INTO plata_search.texts SELECT said.* FROM plata_search.texts_of(new) AS said;
    RETURN NULL;
END $$;

CREATE FUNCTION plata_search.metadata_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE plata_search.facts SET metadata = plata_search.facts_of(new) WHERE record_id = new.id;
    RETURN NULL;
END $$;

-- Locked first, then read: of two who suggest for one record at once, the second sees the first.
CREATE FUNCTION plata_search.suggestions_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM plata_search.facts WHERE record_id IN (SELECT record_id FROM changed)
    ORDER BY record_id FOR UPDATE;
    UPDATE plata_search.facts SET suggestions = plata_search.suggestions_of(record_id)
    WHERE record_id IN (SELECT record_id FROM changed);
    RETURN NULL;
END $$;

CREATE FUNCTION plata_search.vectors_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO plata_search.vectors
    SELECT changed.id, vector_settings_id, record_id, l2_normalize(read.value)::halfvec, read.value
    FROM changed, plata_search.as_vector(changed.value) AS read (value)
    WHERE read.value IS NOT NULL
    ON CONFLICT (vector_id) DO UPDATE
    SET direction = excluded.direction, value = excluded.value;
    RETURN NULL;
END $$;


CREATE TRIGGER plata_came AFTER INSERT ON records REFERENCING NEW TABLE AS came
    FOR EACH STATEMENT EXECUTE FUNCTION plata_search.records_came();
CREATE TRIGGER plata_words AFTER UPDATE ON records
    FOR EACH ROW WHEN (old.fields::text IS DISTINCT FROM new.fields::text)
    EXECUTE FUNCTION plata_search.words_changed();
CREATE TRIGGER plata_metadata AFTER UPDATE ON records
    FOR EACH ROW WHEN (old.metadata::text IS DISTINCT FROM new.metadata::text)
    EXECUTE FUNCTION plata_search.metadata_changed();

CREATE TRIGGER plata_suggested AFTER INSERT ON suggestions REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION plata_search.suggestions_changed();
CREATE TRIGGER plata_resuggested AFTER UPDATE ON suggestions REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION plata_search.suggestions_changed();
CREATE TRIGGER plata_withdrawn AFTER DELETE ON suggestions REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION plata_search.suggestions_changed();

CREATE TRIGGER plata_placed AFTER INSERT ON vectors REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION plata_search.vectors_changed();
CREATE TRIGGER plata_moved AFTER UPDATE ON vectors REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION plata_search.vectors_changed();


INSERT INTO plata_search.facts
SELECT records.id, records.dataset_id, plata_search.facts_of(records),
    plata_search.suggestions_of(records.id)
FROM records;
INSERT INTO plata_search.texts
SELECT said.* FROM records, plata_search.texts_of(records) AS said;
INSERT INTO plata_search.vectors
SELECT vectors.id, vector_settings_id, record_id, l2_normalize(read.value)::halfvec, read.value
FROM vectors, plata_search.as_vector(vectors.value) AS read (value)
WHERE read.value IS NOT NULL;

CREATE INDEX facts_dataset ON plata_search.facts (dataset_id);
CREATE INDEX texts_words ON plata_search.texts USING gin (dataset_id, field, document);
CREATE INDEX vectors_settings ON plata_search.vectors (settings_id);

-- What a reviewer has not answered: read from the index alone.
CREATE INDEX IF NOT EXISTS plata_records
    ON records (dataset_id, status) INCLUDE (id, inserted_at, updated_at);
CREATE INDEX IF NOT EXISTS plata_responses ON responses (user_id, record_id) INCLUDE (status);

ANALYZE plata_search.facts, plata_search.texts, plata_search.vectors, records, responses;
