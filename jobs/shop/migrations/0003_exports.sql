-- What was loaded and which dump files were written from it: a second run finds its own work and does nothing.
CREATE TABLE shop_loads (
    load_id      integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    fingerprint  text NOT NULL,
    first_week   integer NOT NULL,
    last_week    integer NOT NULL,
    loaded_at    timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE dump_files (
    object_key   text COLLATE "C" PRIMARY KEY,
    fingerprint  text NOT NULL,
    sha256       text NOT NULL,
    size_bytes   bigint NOT NULL,
    row_count    bigint NOT NULL
);
COMMENT ON COLUMN dump_files.fingerprint IS 'The load that the file was written from';
