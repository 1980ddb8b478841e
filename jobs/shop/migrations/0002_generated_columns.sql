-- The history has no titles, prices, stock, users table or names: what was made up says so.
CREATE TABLE generated_columns (
    table_name   text NOT NULL,
    column_name  text NOT NULL,
    how          text NOT NULL,
    PRIMARY KEY (table_name, column_name)
);
COMMENT ON TABLE generated_columns IS 'Columns that the history does not hold: computed or made up by jobs/shop/generate.py';

INSERT INTO generated_columns VALUES
    ('products', 'title', 'type, brand, package in words; maker and a number where needed to be unique'),
    ('products', 'price', 'median of the last 15 paid unit prices before the end of week 46; else of type, category, department; empty where quantity is not a count'),
    ('products', 'stock', 'made up from the product id by a seeded hash; 3 in 100 are out of stock'),
    ('products', 'is_active', 'always true: the history says of no product that it was withdrawn'),
    ('products', 'updated_at', 'start of the first loaded business day; the shop sets it on each change'),
    ('users', 'display_name', 'made up from the user id by a seeded hash'),
    ('users', 'updated_at', 'start of the first loaded business day; the shop sets it on each change');

COMMENT ON COLUMN products.title IS 'GENERATED: type, brand, package in words, made unique';
COMMENT ON COLUMN products.price IS 'GENERATED: robust recent paid unit price; empty where quantity is not a count';
COMMENT ON COLUMN products.stock IS 'GENERATED: seeded hash of the product id';
COMMENT ON COLUMN products.is_active IS 'GENERATED: always true';
COMMENT ON COLUMN products.updated_at IS 'GENERATED at load: start of the first loaded business day';
COMMENT ON COLUMN users.display_name IS 'GENERATED: seeded hash of the user id';
COMMENT ON COLUMN users.updated_at IS 'GENERATED at load: start of the first loaded business day';
COMMENT ON COLUMN order_items.quantity IS 'Units sold; not a count in FUEL and MISCELLANEOUS; 0 on coupons and returns';
COMMENT ON COLUMN order_items.sales_value IS 'What the shop received for the line, not for one unit';
