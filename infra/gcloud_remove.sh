#!/usr/bin/env bash
# Takes away all that infra/gcloud.sh made, and what the functions made while they ran. A test compares the two scripts.
# Usage: infra/gcloud_remove.sh PROJECT REGION PREFIX   (running it again removes what is left).
set -euo pipefail
PROJECT=$1 REGION=$2 PREFIX=$3
DATABASE=$PREFIX-connectors
export CLOUDSDK_CORE_PROJECT=$PROJECT CLOUDSDK_CORE_DISABLE_PROMPTS=1

account() { echo "$PREFIX-$1@$PROJECT.iam.gserviceaccount.com"; }
# Remove something if it is there: given <describe command> -- <delete command>.
given() { local describe=(); while [ "$1" != -- ]; do describe+=("$1"); shift; done; shift; if "${describe[@]}" >/dev/null 2>&1; then "$@"; fi; }

# First what acts, so that nothing is made anew; with each function its Cloud Run service and who may call it go.
for job in sweep freshness; do
  given gcloud scheduler jobs describe "$PREFIX-system-$job" --location="$REGION" -- gcloud scheduler jobs delete "$PREFIX-system-$job" --location="$REGION"
done
for name in register export export-worker refresh; do
  given gcloud functions describe "$PREFIX-$name" --gen2 --region="$REGION" -- gcloud functions delete "$PREFIX-$name" --gen2 --region="$REGION"
done
given gcloud artifacts repositories describe "$PREFIX-functions" --location="$REGION" -- gcloud artifacts repositories delete "$PREFIX-functions" --location="$REGION"
for queue in export refresh notices; do
  given gcloud tasks queues describe "$PREFIX-$queue" --location="$REGION" -- gcloud tasks queues delete "$PREFIX-$queue" --location="$REGION"
done

# What the functions made. Lists go into variables first: where one cannot be read, the script stops, it does not go on as if there were none.
jobs=$(gcloud scheduler jobs list --location="$REGION" --filter="name~jobs/$PREFIX-schedule-" --format='value(name.basename())')
for job in $jobs; do
  gcloud scheduler jobs delete "$job" --location="$REGION"
done
secrets=$(gcloud secrets list --filter="name~\"secrets/$PREFIX-(connector|channel)-\"" --format='value(name.basename())')
for secret in $secrets; do
  gcloud secrets delete "$secret"
done

for name in tables frozen exports; do
  given gcloud storage buckets describe "gs://$PROJECT-$PREFIX-$name" -- gcloud storage rm "gs://$PROJECT-$PREFIX-$name" --recursive --all-versions
done
if gcloud firestore databases describe --database="$DATABASE" >/dev/null 2>&1; then
  gcloud firestore databases update --database="$DATABASE" --no-delete-protection
  gcloud firestore databases delete --database="$DATABASE"
fi

case ";$(gcloud logging sinks describe _Default --format='value(exclusions[].name)');" in
  *";$PREFIX-links;"*) gcloud logging sinks update _Default --remove-exclusions="$PREFIX-links" ;;
esac

# Grants on the project outlive their account; those on a queue, bucket or account went with it.
gcloud projects get-iam-policy "$PROJECT" --flatten='bindings[].members' --format='csv[no-heading,separator="|"](bindings.role, bindings.members)' |
  while IFS='|' read -r role member; do
    case $member in
      "serviceAccount:$PREFIX-"*"@$PROJECT.iam.gserviceaccount.com") gcloud projects remove-iam-policy-binding "$PROJECT" --member="$member" --role="$role" --all ;;
    esac
  done
for name in register export export-worker refresh tasks scheduler build; do
  given gcloud iam service-accounts describe "$(account $name)" -- gcloud iam service-accounts delete "$(account $name)"
done
roles=$(gcloud iam roles list --project="$PROJECT" --filter="name~roles/${PREFIX}_" --format='value(name.basename())')
for role in $roles; do
  gcloud iam roles delete "$role" --project="$PROJECT"
done
