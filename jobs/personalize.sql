-- What a raw click becomes on its way to a decision. Views only: tables come from the schemas, inserts are on the job page.
-- Every number written with an E is a DOUBLE; 30.0 would be a DECIMAL and cost five times as much.

-- One row per raw record: its first event, a pulse (code 0) or a rejection (code -1), and any further ones, packed.
CREATE TEMPORARY VIEW cleaned AS
SELECT
  event_time,
  clean(body, CAST(event_time AS TIMESTAMP(3)), `partition`, `offset`) AS c
FROM clicks;

-- The same, flat.
CREATE TEMPORARY VIEW firsts AS
SELECT
  c.user_id AS user_id,
  c.code AS code,
  c.counts AS counts,
  c.event_key AS event_key,
  c.stamp AS stamp,
  c.robot AS robot,
  c.learn AS learn,
  c.measure AS measure,
  c.clipped AS clipped,
  c.account AS account,
  c.dwell_ms AS dwell_ms,
  c.scroll_permille AS scroll_permille,
  c.lane AS lane,
  c.clicked AS clicked,
  c.record AS record,
  c.others AS others,
  c.at_ms AS at_ms,
  event_time
FROM cleaned;

-- One row per further event of a record that holds several: a batch, a page's list.
CREATE TEMPORARY VIEW others AS
SELECT at_ms, event_time, unpack(packed) AS c
FROM firsts CROSS JOIN UNNEST(others) AS further (packed);

-- One row per event, pulse or rejection.
CREATE TEMPORARY VIEW readings AS
SELECT
  user_id, code, counts, event_key, stamp, robot, learn, measure, clipped, account, dwell_ms, scroll_permille, lane,
  clicked, record, at_ms, event_time
FROM firsts
UNION ALL
SELECT
  c.user_id, c.code, c.counts, c.event_key, c.stamp, c.robot, c.learn, c.measure, c.clipped, c.account, c.dwell_ms,
  c.scroll_permille, c.lane, c.clicked, c.record, at_ms, event_time
FROM others;

-- One row per event that has an id, with the time at which the same id came before. The order is that of event time, so
-- the earliest wins whatever partition it lies in; of several in one millisecond, which see one another as before, the
-- greatest stamp is the first record's. What comes too late for its window comes too late for this.
CREATE TEMPORARY VIEW recognised AS
SELECT
  *,
  LAG(at_ms) OVER w AS before_ms,
  MAX(stamp) OVER w AS first_stamp
FROM readings
WHERE event_key <> 0 AND COALESCE(event_time > CURRENT_WATERMARK(event_time), TRUE)
WINDOW w AS (PARTITION BY event_key ORDER BY event_time);

-- The same, saying whether the event came before.
CREATE TEMPORARY VIEW compared AS
SELECT
  *,
  CASE WHEN before_ms = at_ms THEN stamp <> first_stamp ELSE COALESCE(at_ms - before_ms <= ${duplicates_ms}, FALSE) END
    AS repeated
FROM recognised;

-- One row per event, pulse or rejection, each once.
CREATE TEMPORARY VIEW once AS
SELECT
  user_id, code, counts, robot, learn, measure, clipped, account, dwell_ms, scroll_permille, lane, clicked, record,
  at_ms, event_time
FROM readings
WHERE event_key = 0 OR NOT COALESCE(event_time > CURRENT_WATERMARK(event_time), TRUE)
UNION ALL
SELECT
  user_id, code, counts, robot, learn, measure, clipped, account, dwell_ms, scroll_permille, lane, clicked, record,
  at_ms, event_time
FROM compared
WHERE NOT repeated;

-- One row per event that counts, pulse, or request to forget a person.
CREATE TEMPORARY VIEW heard AS
SELECT
  user_id, code, robot, learn, measure, clipped, account, dwell_ms, scroll_permille, lane, clicked, at_ms, event_time
FROM once
WHERE counts
UNION ALL
SELECT
  user_id,
  CAST(${erase_code} AS TINYINT),
  FALSE, TRUE, TRUE, FALSE,
  CAST(NULL AS STRING),
  0,
  CAST(0 AS SMALLINT),
  CAST(-1 AS TINYINT),
  CAST(NULL AS STRING),
  TIMESTAMPDIFF(SECOND, TIMESTAMP '1970-01-01 00:00:00', CAST(event_time AS TIMESTAMP(3))) * CAST(1000 AS BIGINT)
    + EXTRACT(MILLISECOND FROM CAST(event_time AS TIMESTAMP(3))),
  event_time
FROM control
WHERE action = 'erase';

-- One row per user and slice. Counts, integer sums and extremes only, so the order inside a slice does not matter.
CREATE TEMPORARY VIEW slices AS
SELECT
  user_id,
  (MIN(at_ms) / ${slice_ms} + 1) * ${slice_ms} AS slice_end,
  MIN(at_ms) AS first_ms,
  MAX(at_ms) AS last_ms,
  COUNT(*) FILTER (WHERE code <> ${erase_code}) AS events,
  COUNT(*) FILTER (WHERE code = 1) AS n_view,
  COUNT(*) FILTER (WHERE code = 2) AS n_click,
  COUNT(*) FILTER (WHERE code = 3) AS n_scroll,
  COUNT(*) FILTER (WHERE code = 4) AS n_hover,
  COUNT(*) FILTER (WHERE code = 5) AS n_dwell,
  COUNT(*) FILTER (WHERE code = 6) AS n_search,
  COUNT(*) FILTER (WHERE code = 7) AS n_cart,
  COUNT(*) FILTER (WHERE code = 8) AS n_purchase,
  COUNT(*) FILTER (WHERE code = 9) AS n_rate,
  COUNT(*) FILTER (WHERE code = 10) AS n_form,
  COUNT(*) FILTER (WHERE code = 11) AS n_rage,
  COUNT(*) FILTER (WHERE code = 12) AS n_error,
  COUNT(*) FILTER (WHERE code = 13) AS n_exposure,
  COUNT(*) FILTER (WHERE code IN (${urgent})) AS urgents,
  COUNT(*) FILTER (WHERE code IN (${erase_code}, ${withdrawn_code})) AS farewells,
  COUNT(*) FILTER (WHERE code = ${erase_code}) AS erasures,
  COUNT(*) FILTER (WHERE robot) AS robots,
  COUNT(*) FILTER (WHERE NOT learn) AS unlearned,
  COUNT(*) FILTER (WHERE NOT measure) AS unmeasured,
  COUNT(*) FILTER (WHERE clipped) AS n_clipped,
  SUM(CAST(dwell_ms AS BIGINT)) AS dwell_ms,
  MAX(CAST(scroll_permille AS BIGINT)) AS scroll_permille,
  MAX(clicked) AS clicked,
  MAX(account) AS account,
  COUNT(*) FILTER (WHERE lane = 0) AS seen_0,
  COUNT(*) FILTER (WHERE lane = 1) AS seen_1,
  COUNT(*) FILTER (WHERE lane = 2) AS seen_2,
  COUNT(*) FILTER (WHERE lane = 3) AS seen_3
FROM TABLE(TUMBLE(TABLE heard, DESCRIPTOR(event_time), ${slice}))
GROUP BY user_id, window_start, window_end;

-- One row per user and slice, with its engagement in thousandths of a point: an integer, so that sums are exact.
CREATE TEMPORARY VIEW engaged AS
SELECT
  *,
  n_view * ${view} + n_click * ${click} + n_hover * ${hover} + n_search * ${search} + n_cart * ${cart}
    + n_purchase * ${purchase} + n_rate * ${rate} + n_form * ${form} + n_rage * ${rage} + n_error * ${error}
    + CAST(dwell_ms * ${per_dwell_ms} AS BIGINT) + CAST(scroll_permille * ${per_scroll_permille} AS BIGINT) AS points,
  n_click + n_search + n_cart + n_purchase + n_rate + n_form AS actions,
  farewells > 0 AS farewell,
  PROCTIME() AS arrival
FROM slices;

-- One row per user and slice, with what came before it. Slices leave their window in event-time order, so arrival
-- order is event-time order, and these sums are a pure function of the log.
CREATE TEMPORARY VIEW recalled AS
SELECT
  *,
  LAG(last_ms) OVER w AS prev_ms,
  MAX(CASE WHEN erasures > 0 THEN slice_end END) OVER w AS erased,
  MAX(CASE WHEN farewell THEN slice_end END) OVER w AS parted,
  MAX(CASE WHEN robots > 0 OR events > ${robot_events} THEN slice_end END) OVER w AS betrayed,
  COUNT(*) OVER w AS all_slices,
  SUM(points) OVER w AS all_points,
  SUM(points * points) OVER w AS all_squares
FROM engaged
WINDOW w AS (PARTITION BY user_id ORDER BY arrival);

-- The same, saying whether memory begins here: after a long silence, at a farewell, and after it. What an erased person
-- does while their tombstone stands ends here.
CREATE TEMPORARY VIEW known AS
SELECT
  *,
  prev_ms IS NULL OR first_ms - prev_ms > ${memory_ms} OR parted > prev_ms
    OR erased + ${tombstone_ms} > prev_ms AS new_memory
FROM recalled
WHERE erased IS NULL OR slice_end = erased OR slice_end - erased > ${tombstone_ms};

-- One row per user and slice, with the session's start and the sums as they stood where memory began: the difference
-- counts since then. What only grows has its latest value in its MAX, which is far cheaper than LAST_VALUE; points may
-- fall, and an item is no number.
CREATE TEMPORARY VIEW anchored AS
SELECT
  *,
  -- A farewell belongs to the session that it ends, so that it stays behind the other slices of that session.
  COALESCE(
    MAX(CASE WHEN new_memory AND NOT farewell OR first_ms - prev_ms > ${session_gap_ms} THEN first_ms END) OVER w,
    first_ms
  ) AS began,
  MAX(CASE WHEN new_memory THEN all_slices - 1 END) OVER w AS life_slices_0,
  MAX(CASE WHEN new_memory THEN all_squares - points * points END) OVER w AS life_squares_0,
  LAST_VALUE(CASE WHEN new_memory THEN all_points - points END) OVER w AS life_points_0,
  LAST_VALUE(CASE WHEN clicked IS NOT NULL THEN SUBSTRING(clicked FROM 15) WHEN new_memory THEN '' END) OVER w
    AS last_clicked,
  -- A farewell still needs the account, whose card goes too.
  LAST_VALUE(CASE WHEN account IS NOT NULL THEN account WHEN new_memory AND NOT farewell THEN '' END) OVER w
    AS last_account
FROM known
WINDOW w AS (PARTITION BY user_id ORDER BY arrival ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);

-- One row per user and slice, with the slice-grid start of its session (a longer one than the cap is cut, so that no
-- exponent overflows), and how strong the slice's engagement is, in classes.
CREATE TEMPORARY VIEW dated AS
SELECT
  *,
  (began / ${slice_ms}) * ${slice_ms}
    + ((slice_end - 1 - (began / ${slice_ms}) * ${slice_ms}) / ${session_cap_ms}) * ${session_cap_ms} AS landmark,
  CASE
    WHEN points <= ${strength_0} THEN 0
    WHEN points <= ${strength_1} THEN 1
    WHEN points <= ${strength_2} THEN 2
    WHEN points <= ${strength_3} THEN 3
    WHEN points <= ${strength_4} THEN 4
    WHEN points <= ${strength_5} THEN 5
    WHEN points <= ${strength_6} THEN 6
    ELSE 7
  END AS strength
FROM anchored;

-- One row per user and slice, with its session's counts and fading sums: forward decay, so that a sum only ever grows.
CREATE TEMPORARY VIEW fading AS
SELECT
  *,
  COUNT(*) OVER w AS session_slices,
  SUM(events) OVER w AS session_events,
  SUM(n_click) OVER w AS session_clicks,
  SUM(actions) OVER w AS session_actions,
  SUM(dwell_ms) OVER w AS session_dwell_ms,
  SUM(seen_0) OVER w AS shown_0,
  SUM(seen_1) OVER w AS shown_1,
  SUM(seen_2) OVER w AS shown_2,
  SUM(seen_3) OVER w AS shown_3,
  COUNT(CASE WHEN strength = 0 THEN 1 END) OVER w AS tally_0,
  COUNT(CASE WHEN strength = 1 THEN 1 END) OVER w AS tally_1,
  COUNT(CASE WHEN strength = 2 THEN 1 END) OVER w AS tally_2,
  COUNT(CASE WHEN strength = 3 THEN 1 END) OVER w AS tally_3,
  COUNT(CASE WHEN strength = 4 THEN 1 END) OVER w AS tally_4,
  COUNT(CASE WHEN strength = 5 THEN 1 END) OVER w AS tally_5,
  COUNT(CASE WHEN strength = 6 THEN 1 END) OVER w AS tally_6,
  COUNT(CASE WHEN strength = 7 THEN 1 END) OVER w AS tally_7,
  SUM(points / 1E3 * EXP((slice_end - landmark) / ${fast_ms})) OVER w AS fading_fast,
  SUM(points / 1E3 * EXP((slice_end - landmark) / ${mid_ms})) OVER w AS fading_mid,
  SUM(points / 1E3 * EXP((slice_end - landmark) / ${slow_ms})) OVER w AS fading_slow
FROM dated
WINDOW w AS (PARTITION BY user_id, landmark ORDER BY arrival ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);

-- One row per user and slice in which something is to be decided: the first of each stretch of the refresh grid,
-- any with an urgent kind, any farewell, and the pulses, which carry the heartbeat.
CREATE TEMPORARY VIEW due AS
SELECT
  user_id, slice_end, first_ms, last_ms, farewell,
  slice_end - betrayed <= ${robot_ms} IS TRUE OR session_actions > ${robot_actions} AS robot,
  unlearned > 0 AS unlearned, unmeasured > 0 AS unmeasured, n_clipped > 0 AS clipped,
  events, n_view, n_click, n_scroll, n_hover, n_dwell, n_search, n_cart, n_purchase, n_rate, n_form, n_rage, n_error,
  n_exposure,
  dwell_ms, scroll_permille, points, CASE WHEN new_memory THEN 0 ELSE prev_ms END AS prev_ms,
  GREATEST(began, landmark) AS session_start, session_slices, session_events, session_clicks, session_dwell_ms,
  all_slices - life_slices_0 AS life_slices,
  all_points - life_points_0 AS life_points,
  all_squares - life_squares_0 AS life_squares,
  tally_0, tally_1, tally_2, tally_3, tally_4, tally_5, tally_6, tally_7,
  landmark, fading_fast, fading_mid, fading_slow,
  last_clicked AS clicked, last_account AS account, shown_0, shown_1, shown_2, shown_3
FROM fading
WHERE
  user_id = ''
  OR urgents > 0
  OR farewell
  OR new_memory
  -- A slice lies in the stretch in which it ends, and ends right after its last event's slice began.
  OR (slice_end - 1) / ${refresh_ms} <> ((prev_ms / ${slice_ms} + 1) * ${slice_ms} - 1) / ${refresh_ms};

-- One row per decision: its record for the topic, and the record of a write to Redis that failed. A pulse, which brings
-- Redis the heartbeat and the card of everybody of whom nothing is known, has neither, nor has a farewell.
CREATE TEMPORARY VIEW decided AS
SELECT user_id, slice_end, decide(${texts}, ARRAY[${wholes}], ARRAY[${flags}], ARRAY[${reals}]) AS d
FROM due;
