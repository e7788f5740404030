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
SELECT user_id, code, dwell_ms, scroll_permille, lane, clicked, record, at_ms, event_time
FROM firsts
UNION ALL
SELECT c.user_id, c.code, c.dwell_ms, c.scroll_permille, c.lane, c.clicked, c.record, at_ms, event_time
FROM others;

-- One row per user and slice. Counts, integer sums and extremes only, so the order inside a slice does not matter.
CREATE TEMPORARY VIEW slices AS
SELECT
  user_id,
  (MIN(at_ms) / ${slice_ms} + 1) * ${slice_ms} AS slice_end,
  MIN(at_ms) AS first_ms,
  MAX(at_ms) AS last_ms,
  COUNT(*) AS events,
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
  SUM(CAST(dwell_ms AS BIGINT)) AS dwell_ms,
  MAX(CAST(scroll_permille AS BIGINT)) AS scroll_permille,
  MAX(clicked) AS clicked,
  COUNT(*) FILTER (WHERE lane = 0) AS seen_0,
  COUNT(*) FILTER (WHERE lane = 1) AS seen_1,
  COUNT(*) FILTER (WHERE lane = 2) AS seen_2,
  COUNT(*) FILTER (WHERE lane = 3) AS seen_3
FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(event_time), ${slice}))
WHERE code >= 0
GROUP BY user_id, window_start, window_end;

-- One row per user and slice, with its engagement in thousandths of a point: an integer, so that sums are exact.
CREATE TEMPORARY VIEW engaged AS
SELECT
  *,
  n_view * ${view} + n_click * ${click} + n_hover * ${hover} + n_search * ${search} + n_cart * ${cart}
    + n_purchase * ${purchase} + n_rate * ${rate} + n_form * ${form} + n_rage * ${rage} + n_error * ${error}
    + CAST(dwell_ms * ${per_dwell_ms} AS BIGINT) + CAST(scroll_permille * ${per_scroll_permille} AS BIGINT) AS points,
  PROCTIME() AS arrival
FROM slices;

-- One row per user and slice, with what came before it. Slices leave their window in event-time order, so arrival
-- order is event-time order, and these sums are a pure function of the log.
CREATE TEMPORARY VIEW recalled AS
SELECT
  *,
  LAG(last_ms) OVER w AS prev_ms,
  COUNT(*) OVER w AS all_slices,
  SUM(events) OVER w AS all_events,
  SUM(n_click) OVER w AS all_clicks,
  SUM(dwell_ms) OVER w AS all_dwell_ms,
  SUM(points) OVER w AS all_points,
  SUM(points * points) OVER w AS all_squares,
  SUM(seen_0) OVER w AS all_seen_0,
  SUM(seen_1) OVER w AS all_seen_1,
  SUM(seen_2) OVER w AS all_seen_2,
  SUM(seen_3) OVER w AS all_seen_3
FROM engaged
WINDOW w AS (PARTITION BY user_id ORDER BY arrival);

-- The same, saying whether a session begins here, and whether memory does.
CREATE TEMPORARY VIEW beginnings AS
SELECT
  *,
  prev_ms IS NULL OR first_ms - prev_ms > ${session_gap_ms} AS new_session,
  prev_ms IS NULL OR first_ms - prev_ms > ${memory_ms} AS new_memory
FROM recalled;

-- One row per user and slice, with the sums as they stood where the session, and memory, began: the difference counts
-- since then, without a state per session. What only grows has its latest value in its MAX, which is far cheaper than
-- LAST_VALUE; points may fall, and an item is no number.
CREATE TEMPORARY VIEW anchored AS
SELECT
  *,
  MAX(CASE WHEN new_session THEN first_ms END) OVER w AS session_start,
  MAX(CASE WHEN new_session THEN all_slices - 1 END) OVER w AS slices_0,
  MAX(CASE WHEN new_session THEN all_events - events END) OVER w AS events_0,
  MAX(CASE WHEN new_session THEN all_clicks - n_click END) OVER w AS clicks_0,
  MAX(CASE WHEN new_session THEN all_dwell_ms - dwell_ms END) OVER w AS dwell_ms_0,
  MAX(CASE WHEN new_session THEN all_seen_0 - seen_0 END) OVER w AS seen_0_0,
  MAX(CASE WHEN new_session THEN all_seen_1 - seen_1 END) OVER w AS seen_1_0,
  MAX(CASE WHEN new_session THEN all_seen_2 - seen_2 END) OVER w AS seen_2_0,
  MAX(CASE WHEN new_session THEN all_seen_3 - seen_3 END) OVER w AS seen_3_0,
  MAX(CASE WHEN new_memory THEN all_slices - 1 END) OVER w AS life_slices_0,
  MAX(CASE WHEN new_memory THEN all_squares - points * points END) OVER w AS life_squares_0,
  LAST_VALUE(CASE WHEN new_memory THEN all_points - points END) OVER w AS life_points_0,
  LAST_VALUE(CASE WHEN clicked IS NOT NULL THEN SUBSTRING(clicked FROM 15) WHEN new_memory THEN '' END) OVER w
    AS last_clicked
FROM beginnings
WINDOW w AS (PARTITION BY user_id ORDER BY arrival ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);

-- One row per user and slice, with counts since the session and memory began, and the landmark of its fading sums:
-- the session's first slice, or a whole number of session caps after it, so that no exponent overflows.
CREATE TEMPORARY VIEW remembered AS
SELECT
  *,
  all_slices - slices_0 AS session_slices,
  all_events - events_0 AS session_events,
  all_clicks - clicks_0 AS session_clicks,
  all_dwell_ms - dwell_ms_0 AS session_dwell_ms,
  all_seen_0 - seen_0_0 AS shown_0,
  all_seen_1 - seen_1_0 AS shown_1,
  all_seen_2 - seen_2_0 AS shown_2,
  all_seen_3 - seen_3_0 AS shown_3,
  all_slices - life_slices_0 AS life_slices,
  all_points - life_points_0 AS life_points,
  all_squares - life_squares_0 AS life_squares,
  (session_start / ${slice_ms}) * ${slice_ms}
    + ((slice_end - 1 - (session_start / ${slice_ms}) * ${slice_ms}) / ${session_cap_ms}) * ${session_cap_ms} AS landmark
FROM anchored;

-- One row per user and slice, with its fading sums: forward decay, so that a sum only ever grows.
CREATE TEMPORARY VIEW fading AS
SELECT
  *,
  SUM(points / 1E3 * EXP((slice_end - landmark) / ${fast_ms})) OVER w AS fading_fast,
  SUM(points / 1E3 * EXP((slice_end - landmark) / ${mid_ms})) OVER w AS fading_mid,
  SUM(points / 1E3 * EXP((slice_end - landmark) / ${slow_ms})) OVER w AS fading_slow
FROM remembered
WINDOW w AS (PARTITION BY user_id, landmark ORDER BY arrival ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);

-- One row per user and slice in which something is to be decided: the first of each stretch of the refresh grid,
-- any with an urgent kind, and the pulses, which carry the heartbeat.
CREATE TEMPORARY VIEW due AS
SELECT
  user_id, slice_end, first_ms, last_ms,
  events, n_view, n_click, n_scroll, n_hover, n_dwell, n_search, n_cart, n_purchase, n_rate, n_form, n_rage, n_error,
  n_exposure,
  dwell_ms, scroll_permille, points, COALESCE(prev_ms, 0) AS prev_ms,
  session_start, session_slices, session_events, session_clicks, session_dwell_ms,
  life_slices, life_points, life_squares,
  landmark, fading_fast, fading_mid, fading_slow,
  last_clicked AS clicked, shown_0, shown_1, shown_2, shown_3
FROM fading
WHERE
  user_id = ''
  OR urgents > 0
  OR prev_ms IS NULL
  -- A slice lies in the stretch in which it ends, and ends right after its last event's slice began.
  OR (slice_end - 1) / ${refresh_ms} <> ((prev_ms / ${slice_ms} + 1) * ${slice_ms} - 1) / ${refresh_ms};

-- One row per decision: its card for Redis, its record for the topic; both are NULL for a pulse.
CREATE TEMPORARY VIEW decided AS
SELECT user_id, slice_end, first_ms, decide(${moment}) AS d
FROM due;

-- One row per write to Redis: NULL where it went through, else the record of what failed.
CREATE TEMPORARY VIEW written AS
SELECT serve(user_id, slice_end, first_ms, d.card, d.expires) AS failure
FROM decided;
