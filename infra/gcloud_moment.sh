#!/usr/bin/env bash
# Restores the newest of Firestore's own backups into a database of its own, PREFIX-restored, and waits until it is whole.
# Usage: infra/gcloud_moment.sh PROJECT PREFIX   (running it again while it is being restored goes on waiting).
set -euo pipefail
PROJECT=$1 PREFIX=$2
DATABASE=$PREFIX-connectors RESTORED=$PREFIX-restored
export CLOUDSDK_CORE_PROJECT=$PROJECT CLOUDSDK_CORE_DISABLE_PROMPTS=1

if ! gcloud firestore databases describe --database="$RESTORED" >/dev/null 2>&1; then
  backup=$(gcloud firestore backups list --filter="database~/databases/$DATABASE$ AND state=READY" --sort-by=~snapshotTime --format='value(name)' --limit=1)
  if [ -z "$backup" ]; then
    echo "Firestore has no backup of $DATABASE that is ready. One is made each day; on the first day there is none yet. Try again tomorrow, or back up by yourself: that takes the present moment." >&2
    exit 1
  fi
  gcloud firestore databases restore --source-backup="$backup" --destination-database="$RESTORED"
fi

for ((turn = 0; turn < 480; turn++)); do
  # Empty while the operation is not listed yet.
  state=$(gcloud firestore operations list --database="$RESTORED" --format='value(metadata.operationState)' --limit=1 || true)
  case $state in
    SUCCESSFUL)
      echo "$RESTORED holds the backup"
      exit 0
      ;;
    FAILED | CANCELLED)
      gcloud firestore operations list --database="$RESTORED" --format='yaml(error, metadata.operationState)' --limit=1 >&2 || true
      gcloud firestore databases delete --database="$RESTORED"
      echo "The backup could not be restored; see the error above. $RESTORED is deleted again, so this can be run anew." >&2
      exit 1
      ;;
  esac
  sleep 30
done
echo "$RESTORED is not whole after four hours. Run this again to go on waiting." >&2
exit 1
