-- The shop's own tables. Ids are text (1-64 characters); text in byte order ("C") is the order that files are written in.
CREATE TABLE users (
    user_id         text COLLATE "C" PRIMARY KEY,
    display_name    text NOT NULL,
    age             text,
    income          text,
    home_ownership  text,
    marital_status  text,
    household_size  text,
    household_comp  text,
    kids_count      text,
    updated_at      timestamptz NOT NULL
);

CREATE TABLE products (
    product_id        text COLLATE "C" PRIMARY KEY,
    title             text NOT NULL CONSTRAINT products_title_unique UNIQUE,
    department        text NOT NULL,
    brand             text,
    product_category  text,
    product_type      text,
    package_size      text,
    manufacturer_id   text,
    price             numeric(10, 2) CHECK (price > 0),
    stock             integer NOT NULL CHECK (stock >= 0),
    is_active         boolean NOT NULL,
    updated_at        timestamptz NOT NULL
);

CREATE TABLE orders (
    order_id    text COLLATE "C" PRIMARY KEY,
    user_id     text COLLATE "C" NOT NULL,
    store_id    text NOT NULL,
    ordered_at  timestamptz NOT NULL,
    CONSTRAINT orders_user_fk FOREIGN KEY (user_id) REFERENCES users (user_id)
);

-- No foreign key to products: 4,836 rows of the history name 17 products that its catalog does not hold.
CREATE TABLE order_items (
    order_id           text COLLATE "C" NOT NULL,
    product_id         text COLLATE "C" NOT NULL,
    quantity           integer NOT NULL CHECK (quantity >= 0),
    sales_value        numeric(10, 2) NOT NULL,
    retail_disc        numeric(10, 2) NOT NULL,
    coupon_disc        numeric(10, 2) NOT NULL,
    coupon_match_disc  numeric(10, 2) NOT NULL,
    CONSTRAINT order_items_pkey PRIMARY KEY (order_id, product_id),
    CONSTRAINT order_items_order_fk FOREIGN KEY (order_id) REFERENCES orders (order_id)
);

-- Daily dumps read orders by day, users and products by the day of their last change.
CREATE INDEX orders_ordered_at ON orders (ordered_at);
CREATE INDEX users_updated_at ON users (updated_at);
CREATE INDEX products_updated_at ON products (updated_at);
