"""Every column name of the lake, once. Standard library only."""

# Identity and time -----------------------------------------------------------
USER_ID = "user_id"
ITEM_ID = "item_id"
EVENT_ID = "event_id"
EVENT_TYPE = "event_type"
EVENT_TIME = "event_time"  # when it happened
INGESTED_AT = "ingested_at"  # wall time of arrival; the only wall time in the lake
AS_OF = "as_of"  # features of this row know nothing at or after this moment
SESSION_ID = "session_id"  # for history: the basket
ORDER_ID = "order_id"
STORE_ID = "store_id"
WEEK = "week"  # business week number, see features.domains.retail
BUSINESS_DATE = "business_date"

# Events ------------------------------------------------------------------------
QUANTITY = "quantity"
PRICE = "price"
REFERRER = "referrer"
DEVICE = "device"
IMPRESSION_ID = "impression_id"
POSITION = "position"
SCHEMA_VERSION = "schema_version"
CHANNEL = "channel"  # how the row reached the lake: dump | kafka
FLAGS = "flags"  # why a kept row is unusual (array of short names)

# Order items -------------------------------------------------------------------
SALES_VALUE = "sales_value"

# Catalog of items ---------------------------------------------------------------
TITLE = "title"
DEPARTMENT = "department"
BRAND = "brand"
CATEGORY = "category"
PRODUCT_TYPE = "product_type"
PACKAGE_SIZE = "package_size"
MANUFACTURER_ID = "manufacturer_id"
STOCK = "stock"
IS_ACTIVE = "is_active"
UPDATED_AT = "updated_at"

# Provenance in bronze ---------------------------------------------------------------
SOURCE_FILE = "source_file"
SOURCE_SHA256 = "source_sha256"
SOURCE_SIZE = "source_size_bytes"
SOURCE_ROW = "source_row"
TOPIC = "topic"
PARTITION = "partition"
OFFSET = "offset"
RAW = "raw"

# Quarantine ---------------------------------------------------------------------------
REASON = "reason"
DETAIL = "detail"
SOURCE_KEY = "source_key"  # where in bronze the row is: file#row or topic/partition/offset
REPLAYED_AT = "replayed_at"

# Interactions and lists ---------------------------------------------------------------
WEIGHT = "weight"
SCORE = "score"
RANK = "rank"
SURFACE = "surface"
SOURCE = "source"  # candidate source that put the item forward
LABEL = "label"
