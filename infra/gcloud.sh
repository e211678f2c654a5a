#!/usr/bin/env bash
# The deployment without Terraform, for a first look: no monitoring, no audit sink, no budget, no load balancer, no backups, no spans,
# no BigQuery sources. Each function holds the permissions of infra/terraform/access.json and no other.
# Usage: infra/gcloud.sh PROJECT REGION PREFIX ADMIN_EMAIL   (after `make package`). Running it again makes what is missing and
# brings functions, roles, queues, bucket rules and clean-up to what this release says; nothing is taken away, the database stays as it was made.
set -euo pipefail
PROJECT=$1 REGION=$2 PREFIX=$3 ADMIN=$4
NUMBER=$(gcloud projects describe "$PROJECT" --format='value(projectNumber)')
DATABASE=$PREFIX-connectors
export CLOUDSDK_CORE_PROJECT=$PROJECT CLOUDSDK_CORE_DISABLE_PROMPTS=1

account() { echo "$PREFIX-$1@$PROJECT.iam.gserviceaccount.com"; }
url() { echo "https://$PREFIX-$1-$NUMBER.$REGION.run.app"; }
bucket() { echo "$PROJECT-$PREFIX-$1"; }
# Make something unless it is there: exists <describe command> -- <create command>.
unless() { local describe=(); while [ "$1" != -- ]; do describe+=("$1"); shift; done; shift; "${describe[@]}" >/dev/null 2>&1 || "$@"; }

gcloud services enable artifactregistry.googleapis.com cloudbuild.googleapis.com cloudfunctions.googleapis.com cloudscheduler.googleapis.com cloudtasks.googleapis.com firestore.googleapis.com iam.googleapis.com iamcredentials.googleapis.com logging.googleapis.com run.googleapis.com secretmanager.googleapis.com sheets.googleapis.com storage.googleapis.com

for name in register export export-worker refresh tasks scheduler build; do
  unless gcloud iam service-accounts describe "$(account $name)" -- gcloud iam service-accounts create "$PREFIX-$name" --display-name="BI connectors ($PREFIX): $name"
done

# What builds writes logs, keeps images in a repository of ours, and reads the uploaded source from the bucket that Cloud Functions makes.
unless gcloud artifacts repositories describe "$PREFIX-functions" --location="$REGION" -- gcloud artifacts repositories create "$PREFIX-functions" --location="$REGION" --repository-format=docker
policies=$(mktemp)
echo '[{"name":"keep-the-last","action":{"type":"Keep"},"mostRecentVersions":{"keepCount":3}},{"name":"delete-the-rest","action":{"type":"Delete"},"condition":{"olderThan":"604800s"}}]' >"$policies"
gcloud artifacts repositories set-cleanup-policies "$PREFIX-functions" --location="$REGION" --policy="$policies"
rm "$policies"
build=(--member="serviceAccount:$(account build)")
gcloud artifacts repositories add-iam-policy-binding "$PREFIX-functions" --location="$REGION" "${build[@]}" --role=roles/artifactregistry.writer
gcloud projects add-iam-policy-binding "$PROJECT" "${build[@]}" --role=roles/logging.logWriter --condition=None
gcloud projects add-iam-policy-binding "$PROJECT" "${build[@]}" --role=roles/storage.objectViewer --condition="expression=resource.name.startsWith(\"projects/_/buckets/gcf-v2-sources-$NUMBER-\"),title=sources-of-functions"

unless gcloud firestore databases describe --database="$DATABASE" -- gcloud firestore databases create --database="$DATABASE" --location="$REGION" --type=firestore-native --enable-pitr --delete-protection
while read -r collection fields; do
  # shellcheck disable=SC2086 # one flag a word
  gcloud firestore indexes composite create --database="$DATABASE" --collection-group="$collection" --query-scope=collection $fields --async || echo "  (there already)"
done < <(python3 -c '
import json, sys
for index in json.load(open("infra/terraform/indexes.json")):
    print(index["collection"], *(f"--field-config=field-path={name},order={order.lower()}" for name, order in index["fields"]))')
for collection in $(python3 -c 'import json; print(*json.load(open("infra/terraform/expiring.json")))'); do
  gcloud firestore fields ttls update expire_at --database="$DATABASE" --collection-group="$collection" --enable-ttl --async
done

for name in tables frozen exports; do
  unless gcloud storage buckets describe "gs://$(bucket $name)" -- gcloud storage buckets create "gs://$(bucket $name)" --location="$REGION" --uniform-bucket-level-access --public-access-prevention --soft-delete-duration=0
done
# As in infra/terraform/buckets.tf: tables keep their former versions for a week, what is frozen or exported goes after nine days.
rules=$(mktemp -d)
unfinished='{"action":{"type":"AbortIncompleteMultipartUpload"},"condition":{"age":1}}'
echo "{\"rule\":[{\"action\":{\"type\":\"Delete\"},\"condition\":{\"daysSinceNoncurrentTime\":7}},$unfinished]}" >"$rules/tables.json"
echo "{\"rule\":[{\"action\":{\"type\":\"Delete\"},\"condition\":{\"age\":9}},$unfinished]}" | tee "$rules/frozen.json" >"$rules/exports.json"
gcloud storage buckets update "gs://$(bucket tables)" --versioning --lifecycle-file="$rules/tables.json"
for name in frozen exports; do
  gcloud storage buckets update "gs://$(bucket $name)" --lifecycle-file="$rules/$name.json"
done
rm -r "$rules"

for name in export refresh notices; do
  limits=(--location="$REGION" --max-attempts=20 --max-retry-duration=3600s --min-backoff=2s --max-backoff=120s --max-concurrent-dispatches=20)
  if gcloud tasks queues describe "$PREFIX-$name" --location="$REGION" >/dev/null 2>&1; then
    gcloud tasks queues update "$PREFIX-$name" "${limits[@]}"
  else
    gcloud tasks queues create "$PREFIX-$name" "${limits[@]}"
  fi
done

while IFS='|' read -r role title permissions; do
  # A role that was deleted keeps its name for weeks; it is taken up again.
  if [ "$(gcloud iam roles describe "${PREFIX}_$role" --project="$PROJECT" --format='value(deleted)' 2>/dev/null)" = True ]; then
    gcloud iam roles undelete "${PREFIX}_$role" --project="$PROJECT"
  fi
  unless gcloud iam roles describe "${PREFIX}_$role" --project="$PROJECT" -- gcloud iam roles create "${PREFIX}_$role" --project="$PROJECT" --title="BI connectors ($PREFIX): $title" --permissions="$permissions"
  gcloud iam roles update "${PREFIX}_$role" --project="$PROJECT" --permissions="$permissions"
done < <(python3 -c '
import json
for name, role in json.load(open("infra/terraform/access.json")).items():
    print(name, role["title"], ",".join(role["permissions"]), sep="|")')
own_secrets="expression=resource.name.startsWith(\"projects/$NUMBER/secrets/$PREFIX-\"),title=own-secrets"
own_database="expression=resource.name==\"projects/$PROJECT/databases/$DATABASE\",title=own-database"
while read -r scope name role place; do
  grant=(--member="serviceAccount:$(account "$name")" --role="projects/$PROJECT/roles/${PREFIX}_$role")
  case $scope in
    project) gcloud projects add-iam-policy-binding "$PROJECT" "${grant[@]}" --condition=None ;;
    secrets) gcloud projects add-iam-policy-binding "$PROJECT" "${grant[@]}" --condition="$own_secrets" ;;
    database) gcloud projects add-iam-policy-binding "$PROJECT" "${grant[@]}" --condition="$own_database" ;;
    queue) gcloud tasks queues add-iam-policy-binding "$PREFIX-$place" --location="$REGION" "${grant[@]}" ;;
    account) gcloud iam service-accounts add-iam-policy-binding "$(account "$place")" "${grant[@]}" ;;
    bucket) gcloud storage buckets add-iam-policy-binding "gs://$(bucket "$place")" "${grant[@]}" ;;
    queries | datasets | traces) ;; # not offered here
    *) echo "infra/terraform/access.json: what is the scope $scope?" >&2; exit 1 ;;
  esac
done < <(python3 -c '
import json
for name, role in json.load(open("infra/terraform/access.json")).items():
    for function, places in role["functions"].items():
        for place in places or [role["scope"]]:
            print(role["scope"], function, name, place)')

settings="LOCATION=$REGION,GOOGLE_CLOUD_PROJECT=$PROJECT,NAME_PREFIX=$PREFIX,FIRESTORE_DATABASE=$DATABASE,BI_ADMINS=$ADMIN"
settings+=",REGISTER_URL=$(url register),EXPORT_URL=$(url export),EXPORT_WORKER_URL=$(url export-worker),REFRESH_URL=$(url refresh)"
settings+=",TASKS_SERVICE_ACCOUNT=$(account tasks),SCHEDULER_SERVICE_ACCOUNT=$(account scheduler)"
settings+=",TABLES_BUCKET=$(bucket tables),FROZEN_BUCKET=$(bucket frozen),EXPORTS_BUCKET=$(bucket exports)"
# Cloud Run checks every caller (--no-allow-unauthenticated, and nobody but the invokers below is bound) and takes the signature off the
# token, so the functions are told to believe it.
settings+=",CLOUD_RUN_CHECKS_CALLERS=true"
deploy() { # name, package, memory, concurrency, timeout in seconds, ingress, more settings
  gcloud functions deploy "$PREFIX-$1" --gen2 --region="$REGION" --runtime=python313 --entry-point="$2" --source="build/$2" --trigger-http --no-allow-unauthenticated --service-account="$(account "$1")" --build-service-account="projects/$PROJECT/serviceAccounts/$(account build)" --docker-repository="projects/$PROJECT/locations/$REGION/repositories/$PREFIX-functions" --memory="$3" --cpu=1 --concurrency="$4" --timeout="$5s" --max-instances=20 --ingress-settings="$6" --set-build-env-vars=GOOGLE_PYTHON_PACKAGE_MANAGER=pip,GOOGLE_SKIP_FRAMEWORK_INJECTION=True --set-env-vars="$settings,THREADS=$4$7"
}
deploy register register 512Mi 8 120 all ""
deploy export export 512Mi 8 120 all ""
deploy export-worker export 1Gi 1 900 internal-only ",EXPORT_ROLE=worker"
deploy refresh refresh 512Mi 8 300 all ""

# As in infra/terraform/exclusions.tf: the path of a link to a kept file leads to the file, so no log keeps it.
links="name=$PREFIX-links,filter=httpRequest.requestUrl=~\"^https?://[^/]+/files/\" AND (resource.labels.service_name=\"$PREFIX-export\" OR resource.labels.url_map_name=\"$PREFIX-origin\")"
case ";$(gcloud logging sinks describe _Default --format='value(exclusions[].name)');" in
  *";$PREFIX-links;"*) gcloud logging sinks update _Default --update-exclusion="$links" ;;
  *) gcloud logging sinks update _Default --add-exclusion="$links" ;;
esac

invoker() { gcloud run services add-iam-policy-binding "$PREFIX-$1" --region="$REGION" --member="$2" --role=roles/run.invoker; }
case $ADMIN in
  *.gserviceaccount.com) admin="serviceAccount:$ADMIN" ;;
  *) admin="user:$ADMIN" ;;
esac
for name in register export refresh; do invoker $name "$admin"; done
for name in export-worker refresh; do
  invoker $name "serviceAccount:$(account tasks)"
  invoker $name "serviceAccount:$(account scheduler)"
done

system_job() { # name, schedule, function
  local job=(--location="$REGION" --schedule="$2" --time-zone=Etc/UTC --uri="$(url "$3")/internal/$1" --http-method=POST --message-body={} --oidc-service-account-email="$(account scheduler)" --oidc-token-audience="$(url "$3")" --attempt-deadline=180s --max-retry-attempts=3)
  if gcloud scheduler jobs describe "$PREFIX-system-$1" --location="$REGION" >/dev/null 2>&1; then
    gcloud scheduler jobs update http "$PREFIX-system-$1" --update-headers=Content-Type=application/json "${job[@]}"
  else
    gcloud scheduler jobs create http "$PREFIX-system-$1" --headers=Content-Type=application/json "${job[@]}"
  fi
}
system_job sweep '*/5 * * * *' export-worker
system_job freshness '* * * * *' refresh

echo "register: $(url register)  export: $(url export)  refresh: $(url refresh)"
