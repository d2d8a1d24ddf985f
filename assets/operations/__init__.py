"""Operations: assets that tell of the whole project: status, map, catalogs, audit."""
