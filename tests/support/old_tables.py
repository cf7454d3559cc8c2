"""Tables of other integrations, as their own migrations make them in SQLite, with sample rows.

Sources  pay-rails/pay: db/migrate/1_create_pay_tables.rb and 2_add_pay_sti_columns.rb;
         laravel/cashier-stripe: database/migrations/2019_05_03_00000*.php;
         dj-stripe/dj-stripe: djstripe/migrations, as Django 5 makes them with dj-stripe 2.9
"""

TUTORIAL = """
CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT NOT NULL UNIQUE, password_hash TEXT NOT NULL,
    stripe_customer_id TEXT, stripe_subscription_id TEXT, subscription_status TEXT, current_period_end INTEGER);
INSERT INTO users (id, email, password_hash, stripe_customer_id, subscription_status) VALUES
    (1, 'ann@example.com', 'x', :ann, 'active'), (2, 'bob@example.com', 'x', :bob, 'canceled'),
    (3, 'eve@example.com', 'x', NULL, NULL), (4, 'joe@example.com', 'x', '', NULL);
"""
PAY = """
CREATE TABLE pay_customers (id integer PRIMARY KEY AUTOINCREMENT NOT NULL, owner_type varchar, owner_id bigint,
    processor varchar NOT NULL, processor_id varchar, "default" boolean, data json, deleted_at datetime(6),
    stripe_account varchar, created_at datetime(6) NOT NULL, updated_at datetime(6) NOT NULL, type varchar);
CREATE INDEX pay_customer_owner_index ON pay_customers (owner_type, owner_id, deleted_at, "default");
CREATE UNIQUE INDEX index_pay_customers_on_processor_and_processor_id ON pay_customers (processor, processor_id);
CREATE TABLE pay_subscriptions (id integer PRIMARY KEY AUTOINCREMENT NOT NULL, customer_id bigint NOT NULL,
    name varchar NOT NULL, processor_id varchar NOT NULL, processor_plan varchar NOT NULL,
    quantity integer DEFAULT 1 NOT NULL, status varchar NOT NULL, current_period_start datetime(6),
    current_period_end datetime(6), trial_ends_at datetime(6), ends_at datetime(6), metered boolean,
    pause_behavior varchar, pause_starts_at datetime(6), pause_resumes_at datetime(6),
    application_fee_percent decimal(8,2), metadata json, data json, created_at datetime(6) NOT NULL,
    updated_at datetime(6) NOT NULL, type varchar, FOREIGN KEY (customer_id) REFERENCES pay_customers (id));
INSERT INTO pay_customers (owner_type, owner_id, processor, processor_id, "default", deleted_at, created_at, updated_at,
    type) VALUES
    ('User', 1, 'stripe', :ann, 1, NULL, '2024-01-01', '2024-01-01', 'Pay::Stripe::Customer'),
    ('User', 2, 'stripe', :bob, 1, NULL, '2024-01-01', '2024-01-01', 'Pay::Stripe::Customer'),
    ('User', 2, 'paddle_billing', 'ctm_1', 0, NULL, '2023-01-01', '2023-01-01', 'Pay::PaddleBilling::Customer'),
    ('User', 3, 'stripe', 'cus_gone', 0, '2024-02-01', '2024-01-01', '2024-02-01', 'Pay::Stripe::Customer'),
    ('User', 4, 'stripe', NULL, 1, NULL, '2024-01-01', '2024-01-01', 'Pay::Stripe::Customer'),
    ('Team', 1, 'fake_processor', 'fake_1', 1, NULL, '2024-01-01', '2024-01-01', 'Pay::FakeProcessor::Customer');
INSERT INTO pay_subscriptions (customer_id, name, processor_id, processor_plan, status, created_at, updated_at) VALUES
    (1, 'default', 'sub_1', :price, 'active', '2024-01-01', '2024-01-01'),
    (2, 'default', 'sub_2', 'price_old', 'canceled', '2024-01-01', '2024-01-01');
"""
CASHIER = """
CREATE TABLE users (id integer PRIMARY KEY AUTOINCREMENT NOT NULL, name varchar NOT NULL, email varchar NOT NULL,
    email_verified_at datetime, password varchar NOT NULL, remember_token varchar, created_at datetime,
    updated_at datetime, stripe_id varchar, pm_type varchar, pm_last_four varchar, trial_ends_at datetime);
CREATE INDEX users_stripe_id_index ON users (stripe_id);
CREATE TABLE subscriptions (id integer PRIMARY KEY AUTOINCREMENT NOT NULL, user_id integer NOT NULL,
    type varchar NOT NULL, stripe_id varchar NOT NULL UNIQUE, stripe_status varchar NOT NULL, stripe_price varchar,
    quantity integer, trial_ends_at datetime, ends_at datetime, created_at datetime, updated_at datetime);
CREATE TABLE subscription_items (id integer PRIMARY KEY AUTOINCREMENT NOT NULL, subscription_id integer NOT NULL,
    stripe_id varchar NOT NULL UNIQUE, stripe_product varchar NOT NULL, stripe_price varchar NOT NULL, quantity integer,
    created_at datetime, updated_at datetime);
INSERT INTO users (id, name, email, password, stripe_id) VALUES
    (1, 'Ann', 'ann@example.com', 'x', :ann), (2, 'Bob', 'bob@example.com', 'x', :bob),
    (3, 'Eve', 'eve@example.com', 'x', NULL);
INSERT INTO subscriptions (id, user_id, type, stripe_id, stripe_status, stripe_price, quantity) VALUES
    (1, 1, 'default', 'sub_1', 'active', :price, 1), (2, 2, 'default', 'sub_2', 'canceled', 'price_old', 1);
INSERT INTO subscription_items (subscription_id, stripe_id, stripe_product, stripe_price, quantity) VALUES
    (1, 'si_1', 'prod_1', :price, 1), (2, 'si_2', 'prod_1', 'price_old', 1);
"""
DJSTRIPE = """
CREATE TABLE djstripe_customer (djstripe_id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    id varchar(255) NOT NULL UNIQUE, livemode bool NULL, created datetime NULL, metadata text NULL,
    description text NULL, djstripe_created datetime NOT NULL, djstripe_updated datetime NOT NULL,
    currency varchar(3) NOT NULL, delinquent bool NULL, email text NOT NULL, name text NOT NULL,
    date_purged datetime NULL, default_source_id varchar(255) NULL, subscriber_id bigint NULL,
    djstripe_owner_account_id varchar(255) NULL, deleted bool NULL, balance bigint NULL);
CREATE TABLE djstripe_price (djstripe_id integer NOT NULL PRIMARY KEY AUTOINCREMENT, id varchar(255) NOT NULL UNIQUE,
    livemode bool NULL, djstripe_created datetime NOT NULL, djstripe_updated datetime NOT NULL, active bool NOT NULL,
    currency varchar(3) NOT NULL, nickname varchar(250) NOT NULL, lookup_key varchar(250) NULL);
CREATE TABLE djstripe_subscription (djstripe_id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    id varchar(255) NOT NULL UNIQUE, livemode bool NULL, djstripe_created datetime NOT NULL,
    djstripe_updated datetime NOT NULL, status varchar(18) NOT NULL, customer_id varchar(255) NOT NULL);
CREATE TABLE djstripe_subscriptionitem (djstripe_id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    id varchar(255) NOT NULL UNIQUE, livemode bool NULL, djstripe_created datetime NOT NULL,
    djstripe_updated datetime NOT NULL, quantity integer NULL, price_id varchar(255) NULL,
    subscription_id varchar(255) NOT NULL);
INSERT INTO djstripe_customer (id, livemode, djstripe_created, djstripe_updated, currency, email, name, date_purged,
    subscriber_id, deleted) VALUES
    (:ann, 1, '2024-01-01', '2024-01-01', 'usd', 'ann@example.com', 'Ann', NULL, 1, 0),
    (:bob, 1, '2024-01-01', '2024-01-01', 'usd', 'bob@example.com', 'Bob', NULL, 2, 0),
    ('cus_purged', 1, '2024-01-01', '2024-01-01', 'usd', '', '', '2024-02-01', NULL, 1),
    ('cus_test', 0, '2024-01-01', '2024-01-01', 'usd', 'ann@example.com', 'Ann', NULL, 1, 0);
INSERT INTO djstripe_price (id, livemode, djstripe_created, djstripe_updated, active, currency, nickname) VALUES
    (:price, 1, '2024-01-01', '2024-01-01', 1, 'usd', 'Pro'),
    ('price_unused', 1, '2024-01-01', '2024-01-01', 1, 'usd', 'Other');
INSERT INTO djstripe_subscription (id, livemode, djstripe_created, djstripe_updated, status, customer_id) VALUES
    ('sub_1', 1, '2024-01-01', '2024-01-01', 'active', :ann);
INSERT INTO djstripe_subscriptionitem (id, livemode, djstripe_created, djstripe_updated, quantity, price_id,
    subscription_id) VALUES ('si_1', 1, '2024-01-01', '2024-01-01', 1, :price, 'sub_1');
"""
TABLES = {"tutorial": TUTORIAL, "pay": PAY, "cashier": CASHIER, "djstripe": DJSTRIPE}
