"""Work that survives a crash: a video is made in closed segments, kept on the disk until the whole is there.

Each segment comes from a freshly opened encoder. Finished ones are recorded in a journal, so that a later run of the
same job makes only those that are missing; then all are joined without encoding again. A run that is not interrupted
goes the same way, hence the results are equal.
"""

from esrgan_video.segments.fingerprint import Identified, input_facts, settings_facts
from esrgan_video.segments.job import Job
from esrgan_video.segments.journal import Completion, Journal
from esrgan_video.segments.length import cut, usual_segment_frames
from esrgan_video.segments.packets import Segment
from esrgan_video.segments.store import SegmentStore, UnfinishedJob, folder_for, opened_store, unfinished_job

__all__ = [
    "Completion",
    "Identified",
    "Job",
    "Journal",
    "Segment",
    "SegmentStore",
    "UnfinishedJob",
    "cut",
    "folder_for",
    "input_facts",
    "opened_store",
    "settings_facts",
    "unfinished_job",
    "usual_segment_frames",
]
