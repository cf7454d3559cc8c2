BEGIN TRANSACTION;
CREATE TABLE "corkage_checkout_attempt" ("user_id" VARCHAR(200) NOT NULL PRIMARY KEY, "nonce" VARCHAR(255) NOT NULL, "plan" VARCHAR(255) NOT NULL, "params" TEXT NOT NULL, "claimed_until" REAL, "session_id" VARCHAR(255), "url" TEXT, "expires_at" INTEGER, "returned_at" INTEGER, "created_at" INTEGER NOT NULL, FOREIGN KEY ("user_id") REFERENCES "corkage_user" ("id"));
CREATE TABLE "corkage_cursor" ("name" VARCHAR(255) NOT NULL PRIMARY KEY, "position" INTEGER NOT NULL, "next_run_at" REAL NOT NULL);
CREATE TABLE "corkage_customer" ("id" VARCHAR(255) NOT NULL PRIMARY KEY, "user_id" VARCHAR(200), "revision" INTEGER NOT NULL, "fetched_at" INTEGER, "deleted_at" INTEGER, FOREIGN KEY ("user_id") REFERENCES "corkage_user" ("id")) WITHOUT ROWID;
INSERT INTO "corkage_customer" VALUES('cus_active','active',3,1700000000,NULL);
INSERT INTO "corkage_customer" VALUES('cus_back','back',3,1700000000,NULL);
INSERT INTO "corkage_customer" VALUES('cus_canceled','canceled',3,1700000000,NULL);
INSERT INTO "corkage_customer" VALUES('cus_canceling','canceling',3,1700000000,NULL);
INSERT INTO "corkage_customer" VALUES('cus_canceling_trial','canceling_trial',3,1700000000,NULL);
INSERT INTO "corkage_customer" VALUES('cus_deleted','back',1,NULL,1700000000);
INSERT INTO "corkage_customer" VALUES('cus_gift','gift',3,1700000000,NULL);
INSERT INTO "corkage_customer" VALUES('cus_grace','grace',3,1700000000,NULL);
INSERT INTO "corkage_customer" VALUES('cus_grace_by_clock','grace_by_clock',3,1700000000,NULL);
INSERT INTO "corkage_customer" VALUES('cus_incomplete','incomplete',3,1700000000,NULL);
INSERT INTO "corkage_customer" VALUES('cus_incomplete_expired','incomplete_expired',3,1700000000,NULL);
INSERT INTO "corkage_customer" VALUES('cus_metered','metered',3,1700000000,NULL);
INSERT INTO "corkage_customer" VALUES('cus_other','other',3,1700000000,NULL);
INSERT INTO "corkage_customer" VALUES('cus_owes_beside','owes_beside',3,1700000000,NULL);
INSERT INTO "corkage_customer" VALUES('cus_past_due','past_due',3,1700000000,NULL);
INSERT INTO "corkage_customer" VALUES('cus_paused','paused',3,1700000000,NULL);
INSERT INTO "corkage_customer" VALUES('cus_pending','pending',3,1700000000,NULL);
INSERT INTO "corkage_customer" VALUES('cus_pending_denied','pending_denied',3,1700000000,NULL);
INSERT INTO "corkage_customer" VALUES('cus_seats','seats',3,1700000000,NULL);
INSERT INTO "corkage_customer" VALUES('cus_stale','stale',3,1700000000,NULL);
INSERT INTO "corkage_customer" VALUES('cus_strange','strange',3,1700000000,NULL);
INSERT INTO "corkage_customer" VALUES('cus_team','team',3,1700000000,NULL);
INSERT INTO "corkage_customer" VALUES('cus_trial_ending','trial_ending',3,1700000000,NULL);
INSERT INTO "corkage_customer" VALUES('cus_trialing','trialing',3,1700000000,NULL);
INSERT INTO "corkage_customer" VALUES('cus_twice','twice',3,1700000000,NULL);
INSERT INTO "corkage_customer" VALUES('cus_unheard','unheard',3,1700000000,NULL);
INSERT INTO "corkage_customer" VALUES('cus_unowned',NULL,1,NULL,NULL);
INSERT INTO "corkage_customer" VALUES('cus_unpaid','unpaid',3,1700000000,NULL);
CREATE TABLE "corkage_notice" ("id" INTEGER NOT NULL PRIMARY KEY, "message_id" VARCHAR(255) NOT NULL, "user_id" VARCHAR(200) NOT NULL, "kind" VARCHAR(255) NOT NULL, "before" TEXT NOT NULL, "after" TEXT NOT NULL, "created_at" REAL NOT NULL, FOREIGN KEY ("user_id") REFERENCES "corkage_user" ("id"));
INSERT INTO "corkage_notice" VALUES(1,'ntc_0a1adc86e47645d79a6bcd40b6501c26','active','access_granted','{"allowed": false, "reason": "", "status": null, "plan": null, "price_id": null, "quantity": null, "cancel_at": null, "trial_ending": false}','{"allowed": true, "reason": "active", "status": "active", "plan": "pro", "price_id": "price_pro", "quantity": 1, "cancel_at": null, "trial_ending": false}',1.79567703120675945284e+09);
INSERT INTO "corkage_notice" VALUES(2,'ntc_58d20a8cfadd49b9af8617b6197dad4f','back','access_granted','{"allowed": false, "reason": "", "status": null, "plan": null, "price_id": null, "quantity": null, "cancel_at": null, "trial_ending": false}','{"allowed": true, "reason": "active", "status": "active", "plan": "pro", "price_id": "price_pro", "quantity": 1, "cancel_at": null, "trial_ending": false}',1.79567703126157665249e+09);
INSERT INTO "corkage_notice" VALUES(3,'ntc_1e516b28e0514386a17da45bedf89fc0','canceling','access_granted','{"allowed": false, "reason": "", "status": null, "plan": null, "price_id": null, "quantity": null, "cancel_at": null, "trial_ending": false}','{"allowed": true, "reason": "canceling", "status": "active", "plan": "pro", "price_id": "price_pro", "quantity": 1, "cancel_at": 4102444800, "trial_ending": false}',1.79567703133050179486e+09);
INSERT INTO "corkage_notice" VALUES(4,'ntc_01c9cc69dd6d4bf3ac9494d2bf0bf903','canceling','cancellation_scheduled','{"allowed": false, "reason": "", "status": null, "plan": null, "price_id": null, "quantity": null, "cancel_at": null, "trial_ending": false}','{"allowed": true, "reason": "canceling", "status": "active", "plan": "pro", "price_id": "price_pro", "quantity": 1, "cancel_at": 4102444800, "trial_ending": false}',1.79567703133050179486e+09);
INSERT INTO "corkage_notice" VALUES(5,'ntc_5a61d2b7b89c4b88916b6078338eab68','canceling_trial','access_granted','{"allowed": false, "reason": "", "status": null, "plan": null, "price_id": null, "quantity": null, "cancel_at": null, "trial_ending": false}','{"allowed": true, "reason": "canceling", "status": "trialing", "plan": "pro", "price_id": "price_pro", "quantity": 1, "cancel_at": 4102444800, "trial_ending": false}',1.79567703139236783983e+09);
INSERT INTO "corkage_notice" VALUES(6,'ntc_77d516bc95014dc3bd5a8e6fe709f9e5','canceling_trial','cancellation_scheduled','{"allowed": false, "reason": "", "status": null, "plan": null, "price_id": null, "quantity": null, "cancel_at": null, "trial_ending": false}','{"allowed": true, "reason": "canceling", "status": "trialing", "plan": "pro", "price_id": "price_pro", "quantity": 1, "cancel_at": 4102444800, "trial_ending": false}',1.79567703139236783983e+09);
INSERT INTO "corkage_notice" VALUES(7,'ntc_2c5d17bb1781488fb869eb6d27a5e1e4','gift','access_granted','{"allowed": false, "reason": "", "status": null, "plan": null, "price_id": null, "quantity": null, "cancel_at": null, "trial_ending": false}','{"allowed": true, "reason": "active", "status": "active", "plan": null, "price_id": "price_other", "quantity": 1, "cancel_at": null, "trial_ending": false}',1.79567703144207382196e+09);
INSERT INTO "corkage_notice" VALUES(8,'ntc_1466ff2141f346d28e1a5f9918b5e568','grace','payment_failed','{"allowed": false, "reason": "", "status": null, "plan": null, "price_id": null, "quantity": null, "cancel_at": null, "trial_ending": false}','{"allowed": true, "reason": "grace", "status": "past_due", "plan": "pro", "price_id": "price_pro", "quantity": 1, "cancel_at": null, "trial_ending": false}',1.79567703145903229708e+09);
INSERT INTO "corkage_notice" VALUES(9,'ntc_d0e5c7725513474c90d386b25330b9f5','grace','access_granted','{"allowed": false, "reason": "", "status": null, "plan": null, "price_id": null, "quantity": null, "cancel_at": null, "trial_ending": false}','{"allowed": true, "reason": "grace", "status": "past_due", "plan": "pro", "price_id": "price_pro", "quantity": 1, "cancel_at": null, "trial_ending": false}',1.79567703145903229708e+09);
INSERT INTO "corkage_notice" VALUES(10,'ntc_0dd79292be4342028ec5eca020a87afd','grace_by_clock','payment_failed','{"allowed": false, "reason": "", "status": null, "plan": null, "price_id": null, "quantity": null, "cancel_at": null, "trial_ending": false}','{"allowed": true, "reason": "grace", "status": "past_due", "plan": "pro", "price_id": "price_pro", "quantity": 1, "cancel_at": null, "trial_ending": false}',1.79567703156534242631e+09);
INSERT INTO "corkage_notice" VALUES(11,'ntc_b1d21dc6ea004c0283d4e4e48f5044fa','grace_by_clock','access_granted','{"allowed": false, "reason": "", "status": null, "plan": null, "price_id": null, "quantity": null, "cancel_at": null, "trial_ending": false}','{"allowed": true, "reason": "grace", "status": "past_due", "plan": "pro", "price_id": "price_pro", "quantity": 1, "cancel_at": null, "trial_ending": false}',1.79567703156534242631e+09);
INSERT INTO "corkage_notice" VALUES(12,'ntc_fa83979484df4ec3a173ebfcfa0568c8','metered','access_granted','{"allowed": false, "reason": "", "status": null, "plan": null, "price_id": null, "quantity": null, "cancel_at": null, "trial_ending": false}','{"allowed": true, "reason": "active", "status": "active", "plan": "pro", "price_id": "price_pro", "quantity": null, "cancel_at": null, "trial_ending": false}',1.79567703170476746562e+09);
INSERT INTO "corkage_notice" VALUES(13,'ntc_6fbfc421d2c64b98a8d2afc01f6e1c70','owes_beside','access_granted','{"allowed": false, "reason": "", "status": null, "plan": null, "price_id": null, "quantity": null, "cancel_at": null, "trial_ending": false}','{"allowed": true, "reason": "active", "status": "active", "plan": "pro", "price_id": "price_pro", "quantity": 1, "cancel_at": null, "trial_ending": false}',1.79567703182225108142e+09);
INSERT INTO "corkage_notice" VALUES(14,'ntc_caf14a01a33c4a5e973d4a4a0c91a9e1','past_due','payment_failed','{"allowed": false, "reason": "", "status": null, "plan": null, "price_id": null, "quantity": null, "cancel_at": null, "trial_ending": false}','{"allowed": false, "reason": "past_due", "status": "past_due", "plan": "pro", "price_id": "price_pro", "quantity": 1, "cancel_at": null, "trial_ending": false}',1.79567703184291219704e+09);
INSERT INTO "corkage_notice" VALUES(15,'ntc_d6c9e62328cc40d682e02ddf14971449','pending','access_granted','{"allowed": false, "reason": "", "status": null, "plan": null, "price_id": null, "quantity": null, "cancel_at": null, "trial_ending": false}','{"allowed": true, "reason": "payment_pending", "status": "active", "plan": "pro", "price_id": "price_pro", "quantity": 1, "cancel_at": null, "trial_ending": false}',1.79567703194403576849e+09);
INSERT INTO "corkage_notice" VALUES(16,'ntc_665ff34f3b584708b4e2831c6da1e7c6','seats','access_granted','{"allowed": false, "reason": "", "status": null, "plan": null, "price_id": null, "quantity": null, "cancel_at": null, "trial_ending": false}','{"allowed": true, "reason": "active", "status": "active", "plan": "pro", "price_id": "price_pro", "quantity": 5, "cancel_at": null, "trial_ending": false}',1.79567703199894714355e+09);
INSERT INTO "corkage_notice" VALUES(17,'ntc_0dc3fa9c70044a67a19addacbd3c8ab2','stale','access_granted','{"allowed": false, "reason": "", "status": null, "plan": null, "price_id": null, "quantity": null, "cancel_at": null, "trial_ending": false}','{"allowed": true, "reason": "active", "status": "active", "plan": "pro", "price_id": "price_pro", "quantity": 1, "cancel_at": null, "trial_ending": false}',1.7956770320313723087e+09);
INSERT INTO "corkage_notice" VALUES(18,'ntc_c519ddb58ad64acfbd375affdccd789d','team','access_granted','{"allowed": false, "reason": "", "status": null, "plan": null, "price_id": null, "quantity": null, "cancel_at": null, "trial_ending": false}','{"allowed": true, "reason": "active", "status": "active", "plan": "team", "price_id": "price_team", "quantity": 1, "cancel_at": null, "trial_ending": false}',1.79567703207020211222e+09);
INSERT INTO "corkage_notice" VALUES(19,'ntc_8d56ae36600146f68b79c010d03a657b','trial_ending','access_granted','{"allowed": false, "reason": "", "status": null, "plan": null, "price_id": null, "quantity": null, "cancel_at": null, "trial_ending": false}','{"allowed": true, "reason": "trialing", "status": "trialing", "plan": "pro", "price_id": "price_pro", "quantity": 1, "cancel_at": null, "trial_ending": true}',1795677032.10495);
INSERT INTO "corkage_notice" VALUES(20,'ntc_c5bcb845c9394f7cab087569155c25a0','trial_ending','trial_ending','{"allowed": false, "reason": "", "status": null, "plan": null, "price_id": null, "quantity": null, "cancel_at": null, "trial_ending": false}','{"allowed": true, "reason": "trialing", "status": "trialing", "plan": "pro", "price_id": "price_pro", "quantity": 1, "cancel_at": null, "trial_ending": true}',1795677032.10495);
INSERT INTO "corkage_notice" VALUES(21,'ntc_4ec91a10b1b04d0a81d873175bffbf1c','trialing','access_granted','{"allowed": false, "reason": "", "status": null, "plan": null, "price_id": null, "quantity": null, "cancel_at": null, "trial_ending": false}','{"allowed": true, "reason": "trialing", "status": "trialing", "plan": "pro", "price_id": "price_pro", "quantity": 1, "cancel_at": null, "trial_ending": false}',1.79567703210773110386e+09);
INSERT INTO "corkage_notice" VALUES(22,'ntc_42f4256aebb04ab89e333ff71bb8c141','twice','access_granted','{"allowed": false, "reason": "", "status": null, "plan": null, "price_id": null, "quantity": null, "cancel_at": null, "trial_ending": false}','{"allowed": true, "reason": "active", "status": "active", "plan": "team", "price_id": "price_team", "quantity": 1, "cancel_at": null, "trial_ending": false}',1.79567703215785098077e+09);
INSERT INTO "corkage_notice" VALUES(23,'ntc_a02c1b21bac14ccca3e312a7568724ad','unheard','access_granted','{"allowed": false, "reason": "", "status": null, "plan": null, "price_id": null, "quantity": null, "cancel_at": null, "trial_ending": false}','{"allowed": true, "reason": "active", "status": "active", "plan": null, "price_id": "price_never", "quantity": 1, "cancel_at": null, "trial_ending": false}',1.79567703223532581331e+09);
INSERT INTO "corkage_notice" VALUES(24,'ntc_8daa7e06493042508c7779f990fa33a7','unpaid','payment_failed','{"allowed": false, "reason": "", "status": null, "plan": null, "price_id": null, "quantity": null, "cancel_at": null, "trial_ending": false}','{"allowed": false, "reason": "unpaid", "status": "unpaid", "plan": "pro", "price_id": "price_pro", "quantity": 1, "cancel_at": null, "trial_ending": false}',1.79567703226705169673e+09);
CREATE TABLE "corkage_notice_delivery" ("notice_id" INTEGER NOT NULL, "receiver" VARCHAR(255) NOT NULL, "user_id" VARCHAR(200) NOT NULL, "attempts" INTEGER NOT NULL, "next_attempt_at" REAL NOT NULL, "error" TEXT, "delivered_at" REAL, "outcome" VARCHAR(255), PRIMARY KEY ("notice_id", "receiver"), FOREIGN KEY ("notice_id") REFERENCES "corkage_notice" ("id"));
CREATE TABLE "corkage_notice_receiver" ("name" VARCHAR(255) NOT NULL PRIMARY KEY, "seen_at" REAL NOT NULL);
CREATE TABLE "corkage_price" ("id" VARCHAR(255) NOT NULL PRIMARY KEY, "product_id" VARCHAR(255) NOT NULL, "lookup_key" VARCHAR(255), "plan" VARCHAR(255), "features" TEXT NOT NULL, "grace_seconds" INTEGER NOT NULL, "allow_pending" INTEGER NOT NULL, "sold" INTEGER NOT NULL, "unit_amount" INTEGER, "currency" VARCHAR(255), "interval" VARCHAR(255), "interval_count" INTEGER);
INSERT INTO "corkage_price" VALUES('price_pro','prod_pro','pro_monthly','pro','["exports", "api"]',604800,1,1,900,'usd','month',1);
INSERT INTO "corkage_price" VALUES('price_team','prod_team','team_monthly','team','["exports", "seats"]',604800,0,1,900,'usd','month',1);
INSERT INTO "corkage_price" VALUES('price_other','prod_other','other_monthly',NULL,'[]',0,1,0,900,'usd','month',1);
CREATE TABLE "corkage_setting" ("name" VARCHAR(255) NOT NULL PRIMARY KEY, "value" VARCHAR(255) NOT NULL);
INSERT INTO "corkage_setting" VALUES('schema_version','1');
INSERT INTO "corkage_setting" VALUES('access_version','1');
INSERT INTO "corkage_setting" VALUES('mode','test');
CREATE TABLE "corkage_stripe_event" ("id" VARCHAR(255) NOT NULL PRIMARY KEY, "type" VARCHAR(255) NOT NULL, "customer_id" VARCHAR(255), "object_id" VARCHAR(255), "created" INTEGER NOT NULL, "source" VARCHAR(255) NOT NULL, "received_at" REAL NOT NULL, "applied_at" REAL, "outcome" VARCHAR(255), "attempts" INTEGER NOT NULL, "next_attempt_at" REAL NOT NULL, "error" TEXT) WITHOUT ROWID;
INSERT INTO "corkage_stripe_event" VALUES('evt_1','customer.subscription.updated','cus_active','sub_active_1',1700000000,'webhook',1700000000.0,NULL,NULL,0,4102444800.0,NULL);
CREATE TABLE "corkage_subscription" ("id" VARCHAR(255) NOT NULL PRIMARY KEY, "stripe_price_id" VARCHAR(255), "subscription_status" VARCHAR(255), "quantity" INTEGER, "current_period_end" INTEGER, "cancel_at" INTEGER, "trial_end" INTEGER, "past_due_since" INTEGER, "payment_pending" INTEGER NOT NULL DEFAULT 0, "ours" INTEGER NOT NULL DEFAULT 0, "clock_ahead" INTEGER NOT NULL DEFAULT 0, "customer_id" VARCHAR(255) NOT NULL, "created" INTEGER NOT NULL, "ended_at" INTEGER, "test_clock" VARCHAR(255), "ask_at" REAL, FOREIGN KEY ("customer_id") REFERENCES "corkage_customer" ("id"));
INSERT INTO "corkage_subscription" VALUES('sub_active_1','price_pro','active',1,4102444800,NULL,NULL,NULL,0,1,0,'cus_active',1700000001,NULL,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_seats_1','price_pro','active',5,4102444800,NULL,NULL,NULL,0,1,0,'cus_seats',1700000001,NULL,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_metered_1','price_pro','active',NULL,4102444800,NULL,NULL,NULL,0,1,0,'cus_metered',1700000001,NULL,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_team_1','price_team','active',1,4102444800,NULL,NULL,NULL,0,1,0,'cus_team',1700000001,NULL,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_trialing_1','price_pro','trialing',1,4102444800,NULL,4102444800,NULL,0,1,0,'cus_trialing',1700000001,NULL,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_trial_ending_1','price_pro','trialing',1,1700086400,NULL,1700086400,NULL,0,1,0,'cus_trial_ending',1700000001,NULL,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_canceling_1','price_pro','active',1,4102444800,4102444800,NULL,NULL,0,1,0,'cus_canceling',1700000001,NULL,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_canceling_trial_1','price_pro','trialing',1,4102444800,4102444800,4102444800,NULL,0,1,0,'cus_canceling_trial',1700000001,NULL,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_pending_1','price_pro','active',1,4102444800,NULL,NULL,NULL,1,1,0,'cus_pending',1700000001,NULL,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_pending_denied_1','price_team','active',1,4102444800,NULL,NULL,NULL,1,1,0,'cus_pending_denied',1700000001,NULL,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_grace_1','price_pro','past_due',1,4102444800,NULL,NULL,4102444800,0,1,0,'cus_grace',1700000001,NULL,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_grace_by_clock_1','price_pro','past_due',1,4102444800,NULL,NULL,4102445300,0,1,1000,'cus_grace_by_clock',1700000001,NULL,'clock_1',NULL);
INSERT INTO "corkage_subscription" VALUES('sub_past_due_1','price_pro','past_due',1,4102444800,NULL,NULL,1700000000,0,1,0,'cus_past_due',1700000001,NULL,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_unpaid_1','price_pro','unpaid',1,4102444800,NULL,NULL,NULL,0,1,0,'cus_unpaid',1700000001,NULL,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_paused_1','price_pro','paused',1,4102444800,NULL,NULL,NULL,0,1,0,'cus_paused',1700000001,NULL,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_incomplete_1','price_pro','incomplete',1,4102444800,NULL,NULL,NULL,0,1,0,'cus_incomplete',1700000001,NULL,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_canceled_1','price_pro','canceled',1,4102444800,NULL,NULL,NULL,0,1,0,'cus_canceled',1700000001,1700000009,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_incomplete_expired_1','price_pro','incomplete_expired',1,4102444800,NULL,NULL,NULL,0,1,0,'cus_incomplete_expired',1700000001,1700000009,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_strange_1','price_pro','perplexed',1,4102444800,NULL,NULL,NULL,0,1,0,'cus_strange',1700000001,NULL,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_stale_1','price_pro','active',1,1700000000,NULL,NULL,NULL,0,1,0,'cus_stale',1700000001,NULL,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_other_1','price_other','active',1,4102444800,NULL,NULL,NULL,0,0,0,'cus_other',1700000001,NULL,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_gift_1','price_other','active',1,4102444800,NULL,NULL,NULL,0,1,0,'cus_gift',1700000001,NULL,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_unheard_1','price_never','active',1,4102444800,NULL,NULL,NULL,0,1,0,'cus_unheard',1700000001,NULL,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_back_1','price_pro','canceled',1,4102444800,NULL,NULL,NULL,0,1,0,'cus_back',1700000001,1700000005,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_back_2','price_pro','active',1,4102444800,NULL,NULL,NULL,0,1,0,'cus_back',1700000002,NULL,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_twice_1','price_pro','active',1,4102444800,NULL,NULL,NULL,0,1,0,'cus_twice',1700000001,NULL,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_twice_2','price_team','active',1,4102444800,NULL,NULL,NULL,0,1,0,'cus_twice',1700000002,NULL,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_owes_beside_1','price_pro','past_due',1,4102444800,NULL,NULL,1700000000,0,1,0,'cus_owes_beside',1700000001,NULL,NULL,NULL);
INSERT INTO "corkage_subscription" VALUES('sub_owes_beside_2','price_pro','active',1,4102444800,NULL,NULL,NULL,0,1,0,'cus_owes_beside',1700000002,NULL,NULL,NULL);
CREATE TABLE "corkage_user" ("id" VARCHAR(200) NOT NULL PRIMARY KEY, "stripe_price_id" VARCHAR(255), "subscription_status" VARCHAR(255), "quantity" INTEGER, "current_period_end" INTEGER, "cancel_at" INTEGER, "trial_end" INTEGER, "past_due_since" INTEGER, "payment_pending" INTEGER NOT NULL DEFAULT 0, "ours" INTEGER NOT NULL DEFAULT 0, "clock_ahead" INTEGER NOT NULL DEFAULT 0, "email" VARCHAR(255), "name" VARCHAR(255), "stripe_customer_id" VARCHAR(255), "subscription_id" VARCHAR(255), "trial_used_at" INTEGER, "next_change_at" INTEGER, "notified" TEXT, "created_at" INTEGER NOT NULL);
INSERT INTO "corkage_user" VALUES('nobody',NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL,'[false,"no_subscription"]',1700000000);
INSERT INTO "corkage_user" VALUES('active','price_pro','active',1,4102444800,NULL,NULL,NULL,0,1,0,'active@example.com',NULL,'cus_active','sub_active_1',NULL,NULL,'[true,"active","active","pro","price_pro",1]',1700000000);
INSERT INTO "corkage_user" VALUES('seats','price_pro','active',5,4102444800,NULL,NULL,NULL,0,1,0,'seats@example.com',NULL,'cus_seats','sub_seats_1',NULL,NULL,'[true,"active","active","pro","price_pro",5]',1700000000);
INSERT INTO "corkage_user" VALUES('metered','price_pro','active',NULL,4102444800,NULL,NULL,NULL,0,1,0,'metered@example.com',NULL,'cus_metered','sub_metered_1',NULL,NULL,'[true,"active","active","pro","price_pro"]',1700000000);
INSERT INTO "corkage_user" VALUES('team','price_team','active',1,4102444800,NULL,NULL,NULL,0,1,0,'team@example.com',NULL,'cus_team','sub_team_1',NULL,NULL,'[true,"active","active","team","price_team",1]',1700000000);
INSERT INTO "corkage_user" VALUES('trialing','price_pro','trialing',1,4102444800,NULL,4102444800,NULL,0,1,0,'trialing@example.com',NULL,'cus_trialing','sub_trialing_1',NULL,4102185600,'[true,"trialing","trialing","pro","price_pro",1]',1700000000);
INSERT INTO "corkage_user" VALUES('trial_ending','price_pro','trialing',1,1700086400,NULL,1700086400,NULL,0,1,0,'trial_ending@example.com',NULL,'cus_trial_ending','sub_trial_ending_1',NULL,NULL,'[true,"trialing","trialing","pro","price_pro",1,null,true]',1700000000);
INSERT INTO "corkage_user" VALUES('canceling','price_pro','active',1,4102444800,4102444800,NULL,NULL,0,1,0,'canceling@example.com',NULL,'cus_canceling','sub_canceling_1',NULL,NULL,'[true,"canceling","active","pro","price_pro",1,4102444800]',1700000000);
INSERT INTO "corkage_user" VALUES('canceling_trial','price_pro','trialing',1,4102444800,4102444800,4102444800,NULL,0,1,0,'canceling_trial@example.com',NULL,'cus_canceling_trial','sub_canceling_trial_1',NULL,NULL,'[true,"canceling","trialing","pro","price_pro",1,4102444800]',1700000000);
INSERT INTO "corkage_user" VALUES('pending','price_pro','active',1,4102444800,NULL,NULL,NULL,1,1,0,'pending@example.com',NULL,'cus_pending','sub_pending_1',NULL,NULL,'[true,"payment_pending","active","pro","price_pro",1]',1700000000);
INSERT INTO "corkage_user" VALUES('pending_denied','price_team','active',1,4102444800,NULL,NULL,NULL,1,1,0,'pending_denied@example.com',NULL,'cus_pending_denied','sub_pending_denied_1',NULL,NULL,'[false,"payment_pending","active","team","price_team",1]',1700000000);
INSERT INTO "corkage_user" VALUES('grace','price_pro','past_due',1,4102444800,NULL,NULL,4102444800,0,1,0,'grace@example.com',NULL,'cus_grace','sub_grace_1',NULL,4103049600,'[true,"grace","past_due","pro","price_pro",1]',1700000000);
INSERT INTO "corkage_user" VALUES('grace_by_clock','price_pro','past_due',1,4102444800,NULL,NULL,4102445300,0,1,1000,'grace_by_clock@example.com',NULL,'cus_grace_by_clock','sub_grace_by_clock_1',NULL,4103049100,'[true,"grace","past_due","pro","price_pro",1]',1700000000);
INSERT INTO "corkage_user" VALUES('past_due','price_pro','past_due',1,4102444800,NULL,NULL,1700000000,0,1,0,'past_due@example.com',NULL,'cus_past_due','sub_past_due_1',NULL,NULL,'[false,"past_due","past_due","pro","price_pro",1]',1700000000);
INSERT INTO "corkage_user" VALUES('unpaid','price_pro','unpaid',1,4102444800,NULL,NULL,NULL,0,1,0,'unpaid@example.com',NULL,'cus_unpaid','sub_unpaid_1',NULL,NULL,'[false,"unpaid","unpaid","pro","price_pro",1]',1700000000);
INSERT INTO "corkage_user" VALUES('paused','price_pro','paused',1,4102444800,NULL,NULL,NULL,0,1,0,'paused@example.com',NULL,'cus_paused','sub_paused_1',NULL,NULL,'[false,"paused","paused","pro","price_pro",1]',1700000000);
INSERT INTO "corkage_user" VALUES('incomplete','price_pro','incomplete',1,4102444800,NULL,NULL,NULL,0,1,0,'incomplete@example.com',NULL,'cus_incomplete','sub_incomplete_1',NULL,NULL,'[false,"incomplete","incomplete","pro","price_pro",1]',1700000000);
INSERT INTO "corkage_user" VALUES('canceled','price_pro','canceled',1,4102444800,NULL,NULL,NULL,0,1,0,'canceled@example.com',NULL,'cus_canceled','sub_canceled_1',NULL,NULL,'[false,"ended","canceled","pro","price_pro",1]',1700000000);
INSERT INTO "corkage_user" VALUES('incomplete_expired','price_pro','incomplete_expired',1,4102444800,NULL,NULL,NULL,0,1,0,'incomplete_expired@example.com',NULL,'cus_incomplete_expired','sub_incomplete_expired_1',NULL,NULL,'[false,"ended","incomplete_expired","pro","price_pro",1]',1700000000);
INSERT INTO "corkage_user" VALUES('strange','price_pro','perplexed',1,4102444800,NULL,NULL,NULL,0,1,0,'strange@example.com',NULL,'cus_strange','sub_strange_1',NULL,NULL,'[false,"unknown_status","perplexed","pro","price_pro",1]',1700000000);
INSERT INTO "corkage_user" VALUES('stale','price_pro','active',1,1700000000,NULL,NULL,NULL,0,1,0,'stale@example.com',NULL,'cus_stale','sub_stale_1',NULL,NULL,'[true,"active","active","pro","price_pro",1]',1700000000);
INSERT INTO "corkage_user" VALUES('other','price_other','active',1,4102444800,NULL,NULL,NULL,0,0,0,'other@example.com',NULL,'cus_other','sub_other_1',NULL,NULL,'[false,"unknown_price","active",null,"price_other",1]',1700000000);
INSERT INTO "corkage_user" VALUES('gift','price_other','active',1,4102444800,NULL,NULL,NULL,0,1,0,'gift@example.com',NULL,'cus_gift','sub_gift_1',NULL,NULL,'[true,"active","active",null,"price_other",1]',1700000000);
INSERT INTO "corkage_user" VALUES('unheard','price_never','active',1,4102444800,NULL,NULL,NULL,0,1,0,'unheard@example.com',NULL,'cus_unheard','sub_unheard_1',NULL,NULL,'[true,"active","active",null,"price_never",1]',1700000000);
INSERT INTO "corkage_user" VALUES('back','price_pro','active',1,4102444800,NULL,NULL,NULL,0,1,0,'back@example.com',NULL,'cus_back','sub_back_2',NULL,NULL,'[true,"active","active","pro","price_pro",1]',1700000000);
INSERT INTO "corkage_user" VALUES('twice','price_team','active',1,4102444800,NULL,NULL,NULL,0,1,0,'twice@example.com',NULL,'cus_twice','sub_twice_2',NULL,NULL,'[true,"active","active","team","price_team",1]',1700000000);
INSERT INTO "corkage_user" VALUES('owes_beside','price_pro','active',1,4102444800,NULL,NULL,NULL,0,1,0,'owes_beside@example.com',NULL,'cus_owes_beside','sub_owes_beside_2',NULL,NULL,'[true,"active","active","pro","price_pro",1]',1700000000);
CREATE UNIQUE INDEX "corkage_user_stripe_customer_id" ON "corkage_user" ("stripe_customer_id");
CREATE UNIQUE INDEX "corkage_checkout_attempt_session_id" ON "corkage_checkout_attempt" ("session_id");
CREATE INDEX "corkage_customer_user_id" ON "corkage_customer" ("user_id");
CREATE UNIQUE INDEX "corkage_notice_message_id" ON "corkage_notice" ("message_id");
CREATE INDEX "corkage_notice_user_id" ON "corkage_notice" ("user_id");
CREATE INDEX "corkage_notice_delivery_notice_id" ON "corkage_notice_delivery" ("notice_id");
CREATE INDEX "corkage_price_plan" ON "corkage_price" ("plan");
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
    user_id,
    allowed,
    reason,
    plan,
    price_id,
    quantity,
    CASE WHEN allowed THEN coalesce(features, '[]') ELSE '[]' END AS features,
    CASE
        WHEN NOT allowed THEN NULL
        WHEN status = 'past_due' THEN grace_end
        WHEN cancel_at IS NOT NULL THEN cancel_at
        WHEN status = 'trialing' THEN trial_end
        ELSE current_period_end
    END AS until,
    status,
    cancel_at,
    CASE
        WHEN status = 'active' OR status = 'past_due' THEN coalesce(ends <= now, 0)
        WHEN status = 'trialing' THEN coalesce(coalesce(min(trial_end, ends), trial_end, ends) <= now, 0)
        ELSE 0
    END AS stale
FROM (
    SELECT
        *,
        coalesce(min(current_period_end, cancel_at), current_period_end, cancel_at) AS ends,
        CASE status
            WHEN 'active' THEN is_covered AND (NOT payment_pending OR coalesce(allow_pending, 1))
            WHEN 'trialing' THEN is_covered
            WHEN 'past_due' THEN is_covered AND coalesce(now < grace_end, 0)
            ELSE 0
        END AS allowed,
        CASE
            WHEN status IS NULL THEN 'no_subscription'
            WHEN status = 'canceled' OR status = 'incomplete_expired' THEN 'ended'
            WHEN NOT is_covered THEN 'unknown_price'
            WHEN status = 'active' AND payment_pending THEN 'payment_pending'
            WHEN status = 'active' OR status = 'trialing' THEN
                CASE WHEN cancel_at IS NULL THEN status ELSE 'canceling' END
            WHEN status = 'past_due' THEN CASE WHEN now < grace_end THEN 'grace' ELSE status END
            WHEN status = 'unpaid' OR status = 'paused' OR status = 'incomplete' THEN status
            ELSE 'unknown_status'
        END AS reason
    FROM (
        SELECT
            u.id AS user_id,
            u.stripe_price_id AS price_id,
            u.subscription_status AS status,
            u.quantity,
            u.current_period_end,
            u.cancel_at,
            u.trial_end,
            u.payment_pending,
            p.plan,
            p.features,
            p.allow_pending,
            u.ours OR p.plan IS NOT NULL AS is_covered,
            u.past_due_since + coalesce(p.grace_seconds, 0) AS grace_end,
            CAST(strftime('%s', 'now') AS INTEGER) + u.clock_ahead AS now
        FROM corkage_user AS u
        LEFT JOIN corkage_price AS p ON p.id = u.stripe_price_id
    )
);
COMMIT;
