BEGIN TRANSACTION;
CREATE TABLE "corkage_answer" ("user_id" VARCHAR(200) NOT NULL, "starts_at" INTEGER NOT NULL, "ends_at" INTEGER NOT NULL, "allowed" INTEGER NOT NULL, "reason" VARCHAR(255) NOT NULL, "plan" VARCHAR(255), "plans" TEXT NOT NULL, "price_id" VARCHAR(255), "quantity" INTEGER, "features" TEXT NOT NULL, "limits" TEXT NOT NULL, "until" INTEGER, "status" VARCHAR(255), "cancel_at" INTEGER, "stale_at" INTEGER, PRIMARY KEY ("user_id", "starts_at")) WITHOUT ROWID;
INSERT INTO "corkage_answer" VALUES('',0,253402300799,0,'no_subscription',NULL,'[]',NULL,NULL,'[]','{}',NULL,NULL,NULL,NULL);
CREATE TABLE "corkage_checkout_attempt" ("user_id" VARCHAR(200) NOT NULL PRIMARY KEY, "nonce" VARCHAR(255) NOT NULL, "plan" VARCHAR(255) NOT NULL, "params" TEXT NOT NULL, "claimed_until" REAL, "session_id" VARCHAR(255), "url" TEXT, "expires_at" INTEGER, "returned_at" INTEGER, "created_at" INTEGER NOT NULL, FOREIGN KEY ("user_id") REFERENCES "corkage_user" ("id"));
INSERT INTO "corkage_checkout_attempt" VALUES('ann','n-1','pro','{}',NULL,'cs_test_open','https://checkout.stripe.com/c/pay/cs_test_open',4102444800,NULL,1700000000);
INSERT INTO "corkage_checkout_attempt" VALUES('bob','n-2','pro','{"mode": "subscription"}',1700000000.0,NULL,NULL,NULL,NULL,1700000000);
CREATE TABLE "corkage_cursor" ("name" VARCHAR(255) NOT NULL PRIMARY KEY, "position" INTEGER NOT NULL, "next_run_at" REAL NOT NULL);
CREATE TABLE "corkage_customer" ("id" VARCHAR(255) NOT NULL PRIMARY KEY, "user_id" VARCHAR(200), "revision" INTEGER NOT NULL, "fetched_at" INTEGER, "deleted_at" INTEGER, "missing_at" INTEGER, FOREIGN KEY ("user_id") REFERENCES "corkage_user" ("id")) WITHOUT ROWID;
INSERT INTO "corkage_customer" VALUES('cus_ann','ann',0,1700000000,NULL,NULL);
CREATE TABLE "corkage_grant" ("id" INTEGER NOT NULL PRIMARY KEY, "user_id" VARCHAR(200) NOT NULL, "plan" VARCHAR(255) NOT NULL, "quantity" INTEGER, "reason" TEXT NOT NULL, "given_by" TEXT NOT NULL, "created_at" INTEGER NOT NULL, "ends_at" INTEGER, FOREIGN KEY ("user_id") REFERENCES "corkage_user" ("id"));
CREATE TABLE "corkage_notice" ("id" INTEGER NOT NULL PRIMARY KEY, "message_id" VARCHAR(255) NOT NULL, "user_id" VARCHAR(200) NOT NULL, "kind" VARCHAR(255) NOT NULL, "subscription_id" VARCHAR(255), "before" TEXT NOT NULL, "after" TEXT NOT NULL, "created_at" REAL NOT NULL, FOREIGN KEY ("user_id") REFERENCES "corkage_user" ("id"));
CREATE TABLE "corkage_notice_delivery" ("notice_id" INTEGER NOT NULL, "receiver" VARCHAR(255) NOT NULL, "user_id" VARCHAR(200) NOT NULL, "attempts" INTEGER NOT NULL, "next_attempt_at" REAL NOT NULL, "error" TEXT, "delivered_at" REAL, "outcome" VARCHAR(255), PRIMARY KEY ("notice_id", "receiver"), FOREIGN KEY ("notice_id") REFERENCES "corkage_notice" ("id"));
CREATE TABLE "corkage_notice_receiver" ("name" VARCHAR(255) NOT NULL PRIMARY KEY, "seen_at" REAL NOT NULL);
CREATE TABLE "corkage_plan" ("key" VARCHAR(255) NOT NULL PRIMARY KEY, "terms" TEXT NOT NULL);
INSERT INTO "corkage_plan" VALUES('pro','{"features": ["exports", "api"], "limits": {}, "grace_seconds": 604800, "denies_pending": false, "rank": 0, "is_free": false, "adds_to": [], "is_pack": false, "lasts_seconds": null, "keeps_refunded": false, "keeps_disputed": false}');
CREATE TABLE "corkage_price" ("id" VARCHAR(255) NOT NULL PRIMARY KEY, "product_id" VARCHAR(255) NOT NULL, "lookup_key" VARCHAR(255), "plan" VARCHAR(255), "plan_at_stripe" VARCHAR(255), "sold" INTEGER NOT NULL, "unit_amount" INTEGER, "currency" VARCHAR(255), "interval" VARCHAR(255), "interval_count" INTEGER);
INSERT INTO "corkage_price" VALUES('price_pro','prod_pro','pro_monthly','pro',NULL,1,900,'usd','month',1);
CREATE TABLE "corkage_purchase" ("id" VARCHAR(255) NOT NULL PRIMARY KEY, "customer_id" VARCHAR(255) NOT NULL, "price_id" VARCHAR(255) NOT NULL, "quantity" INTEGER, "created" INTEGER NOT NULL, "left" TEXT, "returned" VARCHAR(255), FOREIGN KEY ("customer_id") REFERENCES "corkage_customer" ("id"));
CREATE TABLE "corkage_setting" ("name" VARCHAR(255) NOT NULL PRIMARY KEY, "value" VARCHAR(255) NOT NULL);
INSERT INTO "corkage_setting" VALUES('schema_version','2');
INSERT INTO "corkage_setting" VALUES('access_version','2');
INSERT INTO "corkage_setting" VALUES('mode','test');
INSERT INTO "corkage_setting" VALUES('rule','[1, 1, "04b3aeeff4367f0d"]');
INSERT INTO "corkage_setting" VALUES('made_at','1700000000');
CREATE TABLE "corkage_stripe_event" ("id" VARCHAR(255) NOT NULL PRIMARY KEY, "type" VARCHAR(255) NOT NULL, "customer_id" VARCHAR(255), "object_id" VARCHAR(255), "created" INTEGER NOT NULL, "source" VARCHAR(255) NOT NULL, "received_at" REAL NOT NULL, "applied_at" REAL, "outcome" VARCHAR(255), "attempts" INTEGER NOT NULL, "next_attempt_at" REAL NOT NULL, "error" TEXT) WITHOUT ROWID;
CREATE TABLE "corkage_subscription" ("id" VARCHAR(255) NOT NULL PRIMARY KEY, "customer_id" VARCHAR(255) NOT NULL, "status" VARCHAR(255) NOT NULL, "currency" VARCHAR(255), "created" INTEGER NOT NULL, "current_period_end" INTEGER, "cancel_at" INTEGER, "trial_end" INTEGER, "ended_at" INTEGER, "unpaid_since" INTEGER, "has_paid" INTEGER NOT NULL DEFAULT 0, "payment_pending" INTEGER NOT NULL DEFAULT 0, "pause_behavior" VARCHAR(255), "resumes_at" INTEGER, "paid_until" INTEGER, "returned" VARCHAR(255), "ours" INTEGER NOT NULL DEFAULT 0, "test_clock" VARCHAR(255), "clock_ahead" INTEGER NOT NULL DEFAULT 0, "ask_at" REAL, "noted" TEXT, FOREIGN KEY ("customer_id") REFERENCES "corkage_customer" ("id"));
CREATE TABLE "corkage_subscription_item" ("subscription_id" VARCHAR(255) NOT NULL, "price_id" VARCHAR(255) NOT NULL, "quantity" INTEGER, PRIMARY KEY ("subscription_id", "price_id"), FOREIGN KEY ("subscription_id") REFERENCES "corkage_subscription" ("id") ON DELETE CASCADE) WITHOUT ROWID;
CREATE TABLE "corkage_user" ("id" VARCHAR(200) NOT NULL PRIMARY KEY, "email" VARCHAR(255), "name" VARCHAR(255), "stripe_customer_id" VARCHAR(255), "trial_used_at" INTEGER, "rule" INTEGER NOT NULL DEFAULT 0, "notified" TEXT, "next_change_at" INTEGER, "created_at" INTEGER NOT NULL);
INSERT INTO "corkage_user" VALUES('ann','ann@example.com',NULL,'cus_ann',NULL,0,NULL,NULL,1700000000);
INSERT INTO "corkage_user" VALUES('bob',NULL,NULL,NULL,NULL,0,NULL,NULL,1700000000);
CREATE UNIQUE INDEX "corkage_user_stripe_customer_id" ON "corkage_user" ("stripe_customer_id");
CREATE INDEX "corkage_user_rule" ON "corkage_user" ("rule");
CREATE UNIQUE INDEX "corkage_checkout_attempt_session_id" ON "corkage_checkout_attempt" ("session_id");
CREATE INDEX "corkage_customer_user_id" ON "corkage_customer" ("user_id");
CREATE INDEX "corkage_grant_user_id" ON "corkage_grant" ("user_id");
CREATE UNIQUE INDEX "corkage_notice_message_id" ON "corkage_notice" ("message_id");
CREATE INDEX "corkage_notice_user_id" ON "corkage_notice" ("user_id");
CREATE INDEX "corkage_notice_delivery_notice_id" ON "corkage_notice_delivery" ("notice_id");
CREATE INDEX "corkage_price_plan" ON "corkage_price" ("plan");
CREATE INDEX "corkage_purchase_customer_id" ON "corkage_purchase" ("customer_id");
CREATE INDEX "corkage_subscription_customer_id" ON "corkage_subscription" ("customer_id");
CREATE INDEX "corkage_subscription_ask_at" ON "corkage_subscription" ("ask_at");
CREATE INDEX corkage_event_pending ON corkage_stripe_event (customer_id, next_attempt_at) WHERE applied_at IS NULL;
CREATE INDEX corkage_event_unnamed ON corkage_stripe_event (object_id, next_attempt_at) WHERE applied_at IS NULL AND customer_id IS NULL;
CREATE INDEX corkage_event_purchase ON corkage_stripe_event (customer_id, next_attempt_at) WHERE applied_at IS NULL AND type IN ('checkout.session.completed', 'checkout.session.async_payment_succeeded', 'customer.subscription.created');
CREATE INDEX corkage_user_change ON corkage_user (next_change_at) WHERE next_change_at IS NOT NULL;
CREATE INDEX corkage_subscription_clock ON corkage_subscription (test_clock) WHERE test_clock IS NOT NULL;
CREATE INDEX corkage_notice_due ON corkage_notice_delivery (receiver, next_attempt_at) WHERE delivered_at IS NULL;
CREATE INDEX corkage_notice_owed ON corkage_notice_delivery (receiver, user_id, notice_id) WHERE delivered_at IS NULL;
CREATE VIEW corkage_access AS 
SELECT
    user_id, allowed, reason, plan, price_id, quantity, features, until, status, cancel_at,
    coalesce(stale_at <= CAST(strftime('%s', 'now') AS INTEGER), 0) AS stale, plans, limits
FROM corkage_answer
WHERE starts_at <= CAST(strftime('%s', 'now') AS INTEGER) AND CAST(strftime('%s', 'now') AS INTEGER) < ends_at AND user_id
 <> '';
CREATE VIEW corkage_access_default AS 
SELECT
    user_id, allowed, reason, plan, price_id, quantity, features, until, status, cancel_at,
    coalesce(stale_at <= CAST(strftime('%s', 'now') AS INTEGER), 0) AS stale, plans, limits
FROM corkage_answer
WHERE starts_at <= CAST(strftime('%s', 'now') AS INTEGER) AND CAST(strftime('%s', 'now') AS INTEGER) < ends_at AND user_id
 = '';
COMMIT;
