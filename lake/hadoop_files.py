"""Files wherever Spark can reach them: in a folder or in an object store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pyspark.sql import SparkSession

from lake.folders import FileInfo


@dataclass(frozen=True)
class HadoopFolder:
    """The folder ``path``, read by Spark's own means. See :class:`lake.folders.Folder`."""

    spark: SparkSession
    path: str

    def read(self, name: str) -> bytes | None:
        return content_of(self.spark, f"{self.path}/{name}")

    def listing(self, name: str = "") -> list[FileInfo]:
        system, where = _place(self.spark, f"{self.path}/{name}".rstrip("/"))
        if not system.exists(where):
            return []
        return [
            FileInfo(
                status.getPath().getName(),
                datetime.fromtimestamp(status.getModificationTime() / 1000, UTC),
                status.getLen(),
            )
            for status in system.listStatus(where)
        ]


def _place(spark: SparkSession, path: str) -> tuple[Any, Any]:
    jvm: Any = spark.sparkContext._jvm  # noqa: SLF001
    # By its whole name: in jvm.org.apache... each part is first looked for as a class, in every jar there is.
    where = getattr(jvm, "org.apache.hadoop.fs.Path")(path)
    return where.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration()), where  # noqa: SLF001


def absolute(spark: SparkSession, path: str) -> str:
    """``path`` with its scheme and from the root, as Spark would find it."""
    system, where = _place(spark, path)
    return str(system.makeQualified(where).toString())


def exists(spark: SparkSession, path: str) -> bool:
    """Whether there is such a file or folder."""
    system, where = _place(spark, path)
    return bool(system.exists(where))


def content_of(spark: SparkSession, path: str) -> bytes | None:
    """A small file as a whole; None when it is not there."""
    system, where = _place(spark, path)
    if not system.exists(where):
        return None
    stream = system.open(where)
    try:
        return bytes(stream.readAllBytes())
    finally:
        stream.close()


def text_of(spark: SparkSession, path: str) -> str | None:
    """The text of a small file; None when it is not there."""
    content = content_of(spark, path)
    return None if content is None else content.decode("utf-8")


def bytes_under(spark: SparkSession, folder: str) -> int:
    """Bytes of all files under ``folder``, the table's old files included."""
    system, where = _place(spark, folder)
    return int(system.getContentSummary(where).getLength()) if system.exists(where) else 0


def create(spark: SparkSession, path: str, text: str) -> bool:
    """Make a small file; False when it is there already."""
    system, where = _place(spark, path)
    try:
        stream = system.create(where, False)
    except Py4JJavaError as error:
        if "FileAlreadyExists" in error.java_exception.getClass().getName():
            return False
        raise
    try:
        stream.write(bytearray(text.encode()))
    finally:
        stream.close()
    return True


def write(spark: SparkSession, path: str, text: str) -> None:
    """Make a small file, or put another in its place."""
    system, where = _place(spark, path)
    stream = system.create(where, True)
    try:
        stream.write(bytearray(text.encode()))
    finally:
        stream.close()


def remove(spark: SparkSession, path: str) -> None:
    system, where = _place(spark, path)
    system.delete(where, False)


def remove_folder(spark: SparkSession, path: str) -> None:
    """With all that is in it; nothing where there is none."""
    system, where = _place(spark, path)
    system.delete(where, True)
