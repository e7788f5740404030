-- What the clean events become on their way to an alert. Views only: tables come from the schemas, inserts are on the job
-- page.

-- One row per event of a person that is not late, with the place of its slot among those of conf, from 1; 0 is no slot.
-- What quotes a decision belongs to the slot that ends the decision's id.
CREATE TEMPORARY VIEW seen AS
SELECT
  kind,
  COALESCE(
    ARRAY_POSITION(
      ARRAY[${slots}],
      COALESCE(slot, SUBSTRING(decision_id FROM POSITION('.' IN decision_id) + 1))
    ),
    0
  ) AS place,
  event_time
FROM events
WHERE kind IS NOT NULL AND late IS NOT TRUE AND robot IS NOT TRUE;

-- One row per slot and window in which the slot had an event.
CREATE TEMPORARY VIEW counted AS
SELECT
  place,
  window_start,
  window_end,
  window_time,
  COUNT(*) FILTER (WHERE kind = 'exposure') AS exposures,
  COUNT(*) FILTER (WHERE kind = 'click') AS clicks,
  COUNT(*) FILTER (WHERE kind = 'error') AS errors,
  COUNT(*) FILTER (WHERE kind = 'rage') AS rage
FROM TABLE(TUMBLE(TABLE seen, DESCRIPTOR(event_time), ${window}))
GROUP BY place, window_start, window_end, window_time;

-- One row per window in which the site had an event: its sums, and each slot's exposures and clicks as
-- place:exposures:clicks.
CREATE TEMPORARY VIEW summed AS
SELECT
  (
    TIMESTAMPDIFF(SECOND, TIMESTAMP '1970-01-01 00:00:00', window_start) * CAST(1000 AS BIGINT)
    + EXTRACT(MILLISECOND FROM window_start)
  ) / ${window_ms} AS number,
  window_time AS ended,
  SUM(exposures) AS exposures,
  SUM(clicks) AS clicks,
  SUM(errors) AS errors,
  SUM(rage) AS rage,
  LISTAGG(
    CONCAT(CAST(place AS STRING), ':', CAST(exposures AS STRING), ':', CAST(clicks AS STRING))
  ) AS slots
FROM counted
GROUP BY window_start, window_end, window_time;

-- One row per window in which the site had an event, with those before it, as many as a look takes.
CREATE TEMPORARY VIEW history AS
SELECT
  ARRAY_AGG(number) OVER w AS number,
  ARRAY_AGG(exposures) OVER w AS exposures,
  ARRAY_AGG(clicks) OVER w AS clicks,
  ARRAY_AGG(errors) OVER w AS errors,
  ARRAY_AGG(rage) OVER w AS rage,
  ARRAY_AGG(slots) OVER w AS slots
FROM summed
WINDOW w AS (ORDER BY ended ROWS BETWEEN ${before} PRECEDING AND CURRENT ROW);

-- One row per alert.
CREATE TEMPORARY VIEW told AS
SELECT record
FROM (
  SELECT detect(number, exposures, clicks, errors, rage, slots) AS records
  FROM history
) CROSS JOIN UNNEST(records) AS each_of (record);
