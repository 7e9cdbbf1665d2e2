BEGIN TRANSACTION;
CREATE TABLE reconcile_audit (
	audit_key INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	workspace TEXT NOT NULL, 
	segment_id BIGINT NOT NULL, 
	run_id TEXT NOT NULL, 
	at DOUBLE NOT NULL, 
	id_type TEXT NOT NULL, 
	direction TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	first_id TEXT NOT NULL, 
	last_id TEXT NOT NULL, 
	ids BLOB NOT NULL, 
	pending_key BIGINT
);
INSERT INTO "reconcile_audit" VALUES(1,'production',56,'run-2',1790000360.0,'id','add','query',2,'b','x',X'3D78014BAA0000013E00DB',NULL);
CREATE TABLE reconcile_batches (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	segment_key BIGINT NOT NULL, 
	run_id TEXT NOT NULL, 
	direction TEXT NOT NULL, 
	outcome TEXT, 
	attempts INTEGER NOT NULL, 
	created_at DOUBLE NOT NULL, 
	at DOUBLE NOT NULL, 
	unknown_at DOUBLE, 
	number INTEGER NOT NULL, 
	ids TEXT NOT NULL
, reason TEXT);
INSERT INTO "reconcile_batches" VALUES(10,5,'run-3','remove','acknowledged',1,1790000420.0,1790000420.0,NULL,1,'y',NULL);
INSERT INTO "reconcile_batches" VALUES(11,5,'run-3','add',NULL,1,1790000420.0,1790000420.0,NULL,2,'c
d',NULL);
CREATE TABLE reconcile_creations (
	workspace TEXT NOT NULL, 
	title TEXT NOT NULL, 
	run_id TEXT NOT NULL, 
	asked_at DOUBLE NOT NULL, 
	segment_id BIGINT, 
	PRIMARY KEY (workspace, title)
);
INSERT INTO "reconcile_creations" VALUES('production','News','run-2',1790000360.0,61);
CREATE TABLE reconcile_keys (
	segment_key INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	workspace TEXT NOT NULL, 
	segment_id BIGINT NOT NULL
);
INSERT INTO "reconcile_keys" VALUES(1,'production',58);
INSERT INTO "reconcile_keys" VALUES(2,'staging',5);
INSERT INTO "reconcile_keys" VALUES(3,'prod',60);
INSERT INTO "reconcile_keys" VALUES(5,'production',56);
CREATE TABLE reconcile_locks (
	workspace TEXT NOT NULL, 
	segment_id BIGINT NOT NULL, 
	fence BIGINT NOT NULL, 
	host TEXT, 
	boot_id TEXT, 
	pid_namespace TEXT, 
	pid BIGINT, 
	started TEXT, 
	run_id TEXT, 
	command TEXT, 
	acquired_at DOUBLE, 
	heartbeat_at DOUBLE, 
	expires_at DOUBLE, 
	boot_expires_at DOUBLE, 
	taken_over_at DOUBLE, 
	PRIMARY KEY (workspace, segment_id)
);
INSERT INTO "reconcile_locks" VALUES('production',58,2,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1790000060.0);
INSERT INTO "reconcile_locks" VALUES('staging',5,1,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "reconcile_locks" VALUES('prod',60,1,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "reconcile_locks" VALUES('production',56,4,'here','boot-1','pid:[1]',100,'t100','run-3','apply',1790000420.0,1790000420.0,1790000480.0,1790000480.0,NULL);
CREATE TABLE reconcile_marks (
	segment_key BIGINT NOT NULL, 
	id TEXT NOT NULL, 
	mark TEXT NOT NULL, 
	direction TEXT, 
	at DOUBLE NOT NULL, 
	PRIMARY KEY (segment_key, id, mark)
)
 WITHOUT ROWID

;
INSERT INTO "reconcile_marks" VALUES(5,'a','unmatched',NULL,1790000300.0);
INSERT INTO "reconcile_marks" VALUES(5,'q','rejected',NULL,1790000360.0);
INSERT INTO "reconcile_marks" VALUES(5,'u','echo','add',1790000240.0);
INSERT INTO "reconcile_marks" VALUES(5,'v','unsettled','add',1790000360.0);
INSERT INTO "reconcile_marks" VALUES(5,'x','removed',NULL,1790000360.0);
CREATE TABLE reconcile_members (
	segment_key BIGINT NOT NULL, 
	id TEXT NOT NULL, 
	PRIMARY KEY (segment_key, id)
)
 WITHOUT ROWID

;
INSERT INTO "reconcile_members" VALUES(1,'m');
INSERT INTO "reconcile_members" VALUES(1,'n');
INSERT INTO "reconcile_members" VALUES(2,'s@example.com');
INSERT INTO "reconcile_members" VALUES(2,'t@example.com');
INSERT INTO "reconcile_members" VALUES(3,'o');
INSERT INTO "reconcile_members" VALUES(5,'b');
INSERT INTO "reconcile_members" VALUES(5,'e');
INSERT INTO "reconcile_members" VALUES(5,'u');
INSERT INTO "reconcile_members" VALUES(5,'y');
INSERT INTO "reconcile_members" VALUES(5,'ü\n');
CREATE TABLE reconcile_plans (
	plan_id TEXT NOT NULL, 
	spent_at DOUBLE NOT NULL, 
	PRIMARY KEY (plan_id)
);
INSERT INTO "reconcile_plans" VALUES('plan-0',1790000120.0);
CREATE TABLE reconcile_run_segments (
	run_id TEXT NOT NULL, 
	workspace TEXT NOT NULL, 
	segment_id BIGINT NOT NULL, 
	name TEXT NOT NULL, 
	status TEXT NOT NULL, 
	added BIGINT NOT NULL, 
	removed BIGINT NOT NULL, 
	rejected BIGINT NOT NULL, 
	unsettled BIGINT NOT NULL, code TEXT, title TEXT, ended_at DOUBLE, 
	PRIMARY KEY (run_id, workspace, segment_id)
);
INSERT INTO "reconcile_run_segments" VALUES('run-1','staging',5,'vip','applied',2,0,0,0,NULL,NULL,NULL);
INSERT INTO "reconcile_run_segments" VALUES('run-1b','prod',60,'other','applied',1,0,0,0,NULL,NULL,NULL);
INSERT INTO "reconcile_run_segments" VALUES('run-2','production',56,'vip','partial',6,1,2,1,NULL,NULL,NULL);
CREATE TABLE reconcile_runs (
	run_id TEXT NOT NULL, 
	workspace TEXT NOT NULL, 
	command TEXT NOT NULL, 
	started_at DOUBLE NOT NULL, 
	ended_at DOUBLE, 
	exit_code INTEGER, 
	tool_version TEXT NOT NULL, 
	allowed TEXT NOT NULL, 
	plan_id TEXT, 
	document TEXT, actor_user TEXT, actor_host TEXT, actor_commit TEXT, actor_job TEXT, reason TEXT, process TEXT, 
	PRIMARY KEY (run_id, workspace)
);
INSERT INTO "reconcile_runs" VALUES('run-0','production','apply',1790000000.0,1790000000.0,0,'0.1.0','[]',NULL,'{"kind": "run"}',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "reconcile_runs" VALUES('run-1','staging','apply',1790000120.0,1790000120.0,0,'0.1.0','[]','plan-0','{"kind": "run"}',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "reconcile_runs" VALUES('run-1b','prod','apply',1790000180.0,1790000180.0,0,'0.1.0','[]',NULL,'{"kind": "run"}',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "reconcile_runs" VALUES('run-2','production','apply',1790000240.0,1790000360.0,6,'0.1.0','["max_removals: vip"]',NULL,'{"kind": "run"}','ann','ci-1',NULL,NULL,'first fill',NULL);
INSERT INTO "reconcile_runs" VALUES('run-3','production','apply',1790000420.0,NULL,NULL,'0.1.0','[]',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE reconcile_segments (
	workspace TEXT NOT NULL, 
	segment_id BIGINT NOT NULL, 
	segment_key BIGINT NOT NULL, 
	name TEXT NOT NULL, 
	id_type TEXT NOT NULL, 
	lineage TEXT NOT NULL, 
	serial BIGINT NOT NULL, 
	completed_at DOUBLE, 
	confirmed_at DOUBLE, 
	plan_id TEXT, 
	plan_base BIGINT, 
	last_run_id TEXT, 
	last_run_at DOUBLE, 
	change_token TEXT, 
	attempted_at DOUBLE, 
	restored_at DOUBLE, title TEXT, origin TEXT, spec TEXT, proved_at DOUBLE, 
	PRIMARY KEY (workspace, segment_id), 
	CONSTRAINT reconcile_segments_key UNIQUE (segment_key)
);
INSERT INTO "reconcile_segments" VALUES('production',58,1,'restored','id','ecd5d1361aa44128926037e32736d478',2,1790000000.0,NULL,NULL,NULL,'run-0',1790000000.0,'c412ec366e9f4dc78a59e80cdeaca048',1790000000.0,1790000060.0,NULL,NULL,NULL,NULL);
INSERT INTO "reconcile_segments" VALUES('staging',5,2,'vip','email','ef3cc88301614c4da94a328b51d39620',2,1790000120.0,NULL,'plan-0',0,'run-1',1790000120.0,'20f8195f1c0b482bb42f1ed28cf32f40',1790000120.0,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "reconcile_segments" VALUES('prod',60,3,'other','id','556b04fb68f24ee8ae0f430925293848',2,1790000180.0,NULL,NULL,NULL,'run-1b',1790000180.0,'ecb031930d5743f9a501c35ba1e66721',1790000180.0,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "reconcile_segments" VALUES('production',56,5,'vip','id','4494054bdd17436092ea7a17882d646c',10,1790000360.0,1790000300.0,'plan-1',8,'run-2c',1790000360.0,'34665650625d4281af4b96759c679920',1790000420.0,NULL,'VIP customers','git.example.com/team/specs','vip.yaml',NULL);
CREATE TABLE reconcile_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT reconcile_version_pkc PRIMARY KEY (version_num));
INSERT INTO "reconcile_version" VALUES('0004');
CREATE TABLE reconcile_workspaces (
	name TEXT NOT NULL, 
	environment_id BIGINT NOT NULL, 
	bound_at DOUBLE NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "reconcile_workspaces" VALUES('production',77,1790000000.0);
INSERT INTO "reconcile_workspaces" VALUES('staging',78,1790000120.0);
INSERT INTO "reconcile_workspaces" VALUES('prod',77,1790000180.0);
CREATE INDEX reconcile_batches_segment ON reconcile_batches (segment_key, seq);
CREATE INDEX reconcile_runs_started ON reconcile_runs (workspace, started_at);
CREATE INDEX reconcile_run_segments_segment ON reconcile_run_segments (workspace, segment_id, ended_at);
CREATE INDEX reconcile_audit_pending ON reconcile_audit (pending_key) WHERE pending_key IS NOT NULL;
CREATE INDEX reconcile_audit_segment ON reconcile_audit (workspace, segment_id, first_id, last_id);
CREATE INDEX reconcile_audit_at ON reconcile_audit (workspace, at);
CREATE INDEX reconcile_audit_run ON reconcile_audit (workspace, run_id, segment_id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('reconcile_keys',5);
INSERT INTO "sqlite_sequence" VALUES('reconcile_batches',11);
INSERT INTO "sqlite_sequence" VALUES('reconcile_audit',1);
COMMIT;
